"""Refusals that repeat, counted: the first is written at once, the others of its minute as one line with their number.

Without it whoever may do nothing could still fill the audit log (docs/adr/0058-refusals-are-counted.md).
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple

import msgspec

from controlplane.kit.clock import Monotonic, monotonic

WINDOW_S = 60.0


class Bound(NamedTuple):
    """At most `most` kinds of refusal are listed one by one in a minute for `what`; the others share one line."""

    what: str
    most: int


class Refusal(msgspec.Struct, frozen=True):
    """What one refusal looks like in the log; those that differ only in `target` and `address` repeat one another."""

    event: str
    name: str
    kind: str
    credential: str
    environment: str
    reason: str
    target: str
    address: str

    @property
    def key(self) -> Hashable:
        return self.event, self.name, self.environment, self.reason


class Counted(msgspec.Struct):
    """A minute of refusals: `more` came after the first, `last` is the latest of them. Times are Unix ms."""

    last: Refusal
    first_ms: int
    last_ms: int
    ends_s: float
    within: tuple[Bound, ...]
    more: int = 0


class Repeats:
    """One replica's. Pure but for its clock."""

    def __init__(self, monotonic: Monotonic = monotonic) -> None:
        self._monotonic = monotonic
        self._open: dict[Hashable, Counted] = {}
        self._listed: Counter[str] = Counter()

    def see(self, refusal: Refusal, at_ms: int, bounds: Iterable[Bound]) -> Refusal | None:
        """What to write now; None when it was counted instead."""
        within = tuple(bounds)
        key: Hashable = (refusal.key, within)
        if key not in self._open:
            over = [bound for bound in within if self._listed[bound.what] >= bound.most]
            if over:
                key, within = over[-1], ()
                refusal = msgspec.structs.replace(refusal, reason="more refusals than are listed one by one")
        found = self._open.get(key)
        if found is not None:
            found.last, found.last_ms, found.more = refusal, at_ms, found.more + 1
            return None
        self._open[key] = Counted(refusal, at_ms, at_ms, self._monotonic() + WINDOW_S, within)
        self._listed.update(bound.what for bound in within)
        return refusal

    def take(self, *, every: bool = False) -> list[Counted]:
        """The minutes that are over, or all of them, and of those the ones with something to tell."""
        now = self._monotonic()
        ended = [key for key, counted in self._open.items() if every or counted.ends_s <= now]
        taken = [self._open.pop(key) for key in ended]
        for counted in taken:
            self._listed.subtract(bound.what for bound in counted.within)
        self._listed = +self._listed
        return [counted for counted in taken if counted.more]

    def put_back(self, counted: Iterable[Counted]) -> None:
        """What could not be written: it is told with the next that can be."""
        for each in counted:
            self._open[("again", id(each))] = each
            self._listed.update(bound.what for bound in each.within)
