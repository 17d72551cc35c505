"""The demo's switch: break the provider, degrade the new model, mend both."""

from pathlib import Path

import msgspec

from controlplane.access.actor import Action, Actor, authorize
from controlplane.demo.condition import FAULTS, Condition, Fault
from controlplane.errors import InvalidInputError, NotFoundError

ENVIRONMENT = "production"
PROVIDER = "anthropic"
NEW_MODEL = "claude-sonnet-5"


class ControlFile:
    """What the demo's fleet reads twice a second."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def read(self) -> Condition:
        """All is well without a file, or with one that is being written."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Condition)
        except (OSError, msgspec.DecodeError):
            return Condition()

    def write(self, condition: Condition) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode(condition))
        partial.replace(self._path)


class Demo:
    """The control, for whoever may edit the demo's environment. `path` is empty when no demo runs here."""

    def __init__(self, path: str) -> None:
        self._file = ControlFile(path) if path else None

    @property
    def running(self) -> bool:
        return self._file is not None

    def condition(self, actor: Actor) -> Condition:
        authorize(actor, Action.READ, ENVIRONMENT)
        return self._open().read()

    def break_(self, actor: Actor, fault: str = "outage", provider: str = PROVIDER) -> Condition:
        """Every call to `provider` goes wrong in the way of `fault`."""
        if fault not in FAULTS:
            raise InvalidInputError(f"no fault {fault!r}; there are {', '.join(FAULTS)}")
        return self._change(actor, fault=_fault(fault), provider=provider)

    def degrade(self, actor: Actor, model: str = NEW_MODEL) -> Condition:
        """`model` refuses, fails and breaks its format far more often, and answers worse."""
        return self._change(actor, degraded_model=model)

    def mend(self, actor: Actor) -> Condition:
        """Mend everything."""
        return self._change(actor, fault=None, provider="", degraded_model="")

    def _change(self, actor: Actor, **fields: str | None) -> Condition:
        authorize(actor, Action.EDIT, ENVIRONMENT)
        file = self._open()
        condition = msgspec.structs.replace(file.read(), **fields)
        file.write(condition)
        return condition

    def _open(self) -> ControlFile:
        if self._file is None:
            raise NotFoundError("no demo runs here; start one with `brownout up --demo`")
        return self._file


def _fault(name: str) -> Fault:
    return next(fault for fault in FAULTS if fault == name)
