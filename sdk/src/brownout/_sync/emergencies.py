"""Which messages beside the log this process has heard, and which of them apply. Pure: it is told what time it is.

A message is kept by its activation's key. `off` is final. `settled` hands over to the log. Nothing that is signed longer
than an hour ago applies, however often it is heard, and whatever it says about its end.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from brownout import wire
from brownout.evaluation.safemode import Activation, Origin, Overlay
from brownout.model.reading import UNREADABLE as UNREADABLE_SPEC
from brownout.model.reading import read
from brownout.model.resources import SafeModeActivation, SafeModeProfile, Scope, Spec
from brownout.model.strictest import STRICTEST, STRICTEST_KEY
from brownout.wire.bundle import Signed

MAX_KEPT = 256
"""Activations remembered. Those that ended longest ago give way."""

MAX_ON = 64
"""Activations that apply at once. Further ones are refused: a policy pays for each."""

KEEP_MS = 7 * 24 * 3_600_000
"""How long a tombstone is remembered. What it ends is worthless an hour after it was signed."""

_S = TypeVar("_S", bound=Spec)

FindProfile = Callable[[str], SafeModeProfile | None]
KnowsCohort = Callable[[str], bool]


class Record(msgspec.Struct):
    """Everything heard of one activation, each with the bytes that prove it."""

    on: wire.Emergency | None = None
    on_message: Signed | None = None
    off: Signed | None = None
    settled: int | None = None
    """The revision from which the log has it."""
    settled_message: Signed | None = None
    first: int = 0
    """The uptime (ms) at which `on` was first heard in this process."""
    at: int = 0
    """The newest instant of any of them."""
    origin: Origin = "emergency"

    def ends(self) -> int:
        """The Unix ms at which it stops to apply: never more than an hour after it was signed."""
        return 0 if self.on is None else self.on.at + wire.LONGEST_MS

    def may_apply(self, now_ms: int) -> bool:
        """Whether it counts towards MAX_ON: it is neither over nor in the log."""
        return self.off is None and self.settled is None and self.ends() > now_ms


class Emergencies:
    """Callers hold the replica's lock. `version` moves with every change."""

    def __init__(self) -> None:
        self.version = 0
        self._records: dict[str, Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def take(self, said: wire.Emergency, message: Signed, *, uptime_ms: int, now_ms: int) -> bool:
        """Takes a verified message; returns whether it changed anything."""
        record = self._records.get(said.key)
        if record is None:
            if said.what == "on" and sum(each.may_apply(now_ms) for each in self) >= MAX_ON:
                return False
            record = Record(first=uptime_ms)
        if said.what == "off":
            if record.off is not None:
                return False
            record.off = message
        elif said.what == "settled":
            if record.settled is not None and record.settled <= said.rev:
                return False
            record.settled, record.settled_message = said.rev, message
        else:
            if record.on is not None and said.at <= record.on.at:
                return False
            record.on, record.on_message, record.first = said, message, uptime_ms
        record.at = max(record.at, said.at)
        self._records[said.key] = record
        self._forget(now_ms)
        self.version += 1
        return True

    def settle(self, keys: Iterable[str], revision: int) -> None:
        """The log names these activations: from now on it alone decides about them."""
        for key in keys:
            record = self._records.get(key)
            if record is not None and (record.settled is None or record.settled > revision):
                record.settled = revision
                self.version += 1

    def in_force(
        self, revision: int, find_profile: FindProfile, knows_cohort: KnowsCohort, *, now_ms: int, uptime_ms: int
    ) -> tuple[tuple[Activation, ...], int | None]:
        """What applies at `revision`, in order of keys, and the Unix ms of the next change by time alone."""
        found: list[Activation] = []
        changes: list[int] = []
        for key, record in sorted(self._records.items()):
            on = record.on
            if on is None or record.off is not None or (record.settled is not None and record.settled <= revision):
                continue
            spec, profile = _specs(on, find_profile)
            end = record.ends()
            if spec.on_expiry == "lift":
                end = min(end, int(spec.expires_at.timestamp() * 1000))
            if now_ms >= end or uptime_ms - record.first >= wire.LONGEST_MS:
                continue
            if on.at - wire.EARLY_MS > now_ms:
                changes.append(on.at - wire.EARLY_MS)
                continue
            changes.append(end)
            spec = msgspec.structs.replace(
                spec, expires_at=datetime.fromtimestamp(end / 1000, UTC), scope=_known(spec, knows_cohort)
            )
            found.append(Activation(key, spec, profile, Overlay.of(profile), record.origin))
        return tuple(found), min(changes, default=None)

    def messages(self) -> tuple[Signed, ...]:
        """What another process needs to know as much."""
        found = [
            message
            for record in self._records.values()
            for message in (record.on_message, record.off, record.settled_message)
            if message is not None
        ]
        return tuple(found)

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))

    def _forget(self, now_ms: int) -> None:
        old = [key for key, record in self._records.items() if record.at < now_ms - KEEP_MS]
        if len(self._records) - len(old) > MAX_KEPT:
            ended = sorted((key for key, record in self._records.items() if record.ends() <= now_ms), key=self._age)
            old = [*old, *ended[: len(self._records) - len(old) - MAX_KEPT]]
        for key in old:
            self._records.pop(key, None)

    def _age(self, key: str) -> int:
        return self._records[key].at


def _specs(on: wire.Emergency, find_profile: FindProfile) -> tuple[SafeModeActivation, SafeModeProfile]:
    """What is switched on: where it applies as tightly as it can be read, and the profile, else the strictest."""
    spec = _read("safe_mode_activation", on.spec, SafeModeActivation)
    if spec is None:
        spec = SafeModeActivation(
            profile=STRICTEST_KEY, reason="a newer version of Brownout switched it on", actor="unknown",
            activated_at=_instant(on.at), expires_at=_instant(on.at + wire.LONGEST_MS), on_expiry="hold",
        )  # fmt: skip
    profile = _read("safe_mode_profile", on.profile, SafeModeProfile) or find_profile(spec.profile) or STRICTEST
    return spec, profile


def _read(kind: str, raw: msgspec.Raw | msgspec.UnsetType, struct: type[_S]) -> _S | None:
    if isinstance(raw, msgspec.UnsetType):
        return None
    try:
        found = read(kind, bytes(raw))
    except UNREADABLE_SPEC:
        return None
    return found if isinstance(found, struct) else None


def _known(spec: SafeModeActivation, knows_cohort: KnowsCohort) -> Scope:
    """A scope that names a cohort which is not held is for everyone."""
    scope = spec.scope
    return scope if all(map(knows_cohort, scope.cohorts)) else msgspec.structs.replace(scope, cohorts=())


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
