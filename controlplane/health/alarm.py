"""When people are told of a check: once when it fails, once when it is over, and seldom in between. Pure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controlplane.health.values import Check

RAISE_AFTER_S = 1.0
"""A failure shorter than this is shown, and nobody is woken for it."""

OVER_AFTER_S = 30.0
"""What comes back for a moment only is the same failure: it is over after so long without it."""

REPEAT_S = 3600.0


class News(NamedTuple):
    event: str
    """`health_failing`, `health_still_failing` or `health_ok`."""
    check: Check


class _Known:
    """One check that failed: since when it has, when people were told last, and since when it works again."""

    def __init__(self, at: float) -> None:
        self.since = at
        self.told: float | None = None
        self.ok_since: float | None = None


class Alarm:
    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def look(self, checks: Iterable[Check], at: float) -> Iterator[News]:
        """What to tell at the monotonic time `at`."""
        for check in checks:
            if check.failing:
                known = self._known.setdefault(check.name, _Known(at))
                known.ok_since = None
                if known.told is None and at - known.since >= RAISE_AFTER_S:
                    known.told = at
                    yield News("health_failing", check)
                elif known.told is not None and at - known.told >= REPEAT_S:
                    known.told = at
                    yield News("health_still_failing", check)
            elif (failed := self._known.get(check.name)) is not None:
                failed.ok_since = at if failed.ok_since is None else failed.ok_since
                if failed.told is None or at - failed.ok_since >= OVER_AFTER_S:
                    del self._known[check.name]
                    if failed.told is not None:
                        yield News("health_ok", check)
