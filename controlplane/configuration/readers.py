"""Which live instances cannot read what a commit would put, and what follows from that (DESIGN §9).

Safe mode has to reach everybody, so a commit of it that a live instance cannot read is refused. Any other commit is
made, and names who cannot read it: what an older instance does then is said by the row of the kind.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from brownout.model.kinds import KINDS
from brownout.model.levels import beyond
from brownout.wire import Operation
from controlplane.contract.kinds import words
from controlplane.errors import Fault

Older = Callable[[str, int], Sequence[str]]
"""(environment, schema level) → the live instances that cannot read what that level brought."""

MAX_NAMED = 5

_DOES = {
    "ignore": "they ignore it",
    "tighten": "they apply what they can read, as strictly as possible",
    "refuse": "they serve the caller's default instead",
}


class _Unread(NamedTuple):
    place: int
    operation: Operation
    pointer: str
    instances: Sequence[str]

    @property
    def text(self) -> str:
        operation, count = self.operation, len(self.instances)
        named = ", ".join(self.instances[:MAX_NAMED]) + (f" and {count - MAX_NAMED} more" if count > MAX_NAMED else "")
        what = f"{self.pointer} of " if self.pointer else ""
        live = (
            "1 live instance runs an SDK that cannot"
            if count == 1
            else f"{count} live instances run an SDK that cannot"
        )
        return f"{live} read {what}{words(operation.kind)} {operation.key}: {named}"


class Readers:
    def __init__(self, older: Older | None = None) -> None:
        self.older = older or (lambda _environment, _level: ())

    def faults(self, environment: str, ops: Sequence[Operation]) -> tuple[Fault, ...]:
        """Safe mode that a live instance cannot read; each fault points into `ops`."""
        return tuple(
            Fault(
                "unread_by_fleet",
                f"{each.text}. Leave that out, or upgrade these services first",
                f"/ops/{each.place}/spec{each.pointer}",
            )
            for each in self._unread(environment, ops)
            if KINDS[each.operation.kind].newer == "tighten"
        )

    def warnings(self, environment: str, ops: Sequence[Operation]) -> tuple[str, ...]:
        """Everything else that a live instance cannot read."""
        return tuple(
            f"{each.text}; {_DOES[KINDS[each.operation.kind].newer]}"
            for each in self._unread(environment, ops)
            if KINDS[each.operation.kind].newer != "tighten"
        )

    def _unread(self, environment: str, ops: Sequence[Operation]) -> Iterator[_Unread]:
        for place, operation in enumerate(ops):
            if operation.spec is msgspec.UNSET or operation.kind not in KINDS:
                continue
            for level, pointer in beyond(0, operation.kind, bytes(operation.spec)):
                if instances := self.older(environment, level):
                    yield _Unread(place, operation, pointer, instances)
