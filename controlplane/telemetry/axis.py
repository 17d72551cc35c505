"""A chart's steps: since when anything was counted, and which of them are over. Pure."""

from datetime import datetime, timedelta

import msgspec

from controlplane.errors import InvalidInputError
from controlplane.telemetry.series import COARSE_S, FINE_S, RECENT_S, floor

MAX_RANGE = timedelta(days=31)
MAX_POINTS = 3_000
STEPS_S = (RECENT_S, 30, FINE_S, COARSE_S)
_LONGEST = {RECENT_S: timedelta(minutes=15), 30: timedelta(minutes=45), FINE_S: timedelta(hours=3)}
"""The step of a chart that asks for none, by how long it is."""


def step_of(since: datetime, until: datetime, asked: int | None = None) -> int:
    """Seconds between the points of a chart.

    Raises:
        InvalidInputError: the period is empty or longer than MAX_RANGE, or `asked` is no step or has too many points.
    """
    period = until - since
    if not timedelta(0) < period <= MAX_RANGE:
        raise InvalidInputError(f"a period must be longer than zero and at most {MAX_RANGE.days} days")
    if asked is None:
        return next((step_s for step_s, longest in _LONGEST.items() if period <= longest), COARSE_S)
    if asked not in STEPS_S:
        raise InvalidInputError(f"a step is {', '.join(map(str, STEPS_S[:-1]))} or {COARSE_S} seconds")
    if period.total_seconds() > asked * MAX_POINTS:
        raise InvalidInputError(f"a chart has {MAX_POINTS:,} points at most: ask for a shorter period or a longer step")
    return asked


def stored_step(step_s: int) -> int:
    """The step of the rollups that a chart's step is made of."""
    return RECENT_S if step_s < FINE_S else step_s


class Axis(msgspec.Struct, frozen=True):
    """`times` are Unix seconds, the beginnings of steps.

    A step that is not over has counted a part of its time: a share of what it counted is as good as any, a rate is not.
    """

    step_s: int
    times: list[int]
    begun: int
    """The first step in which the environment counted anything."""
    over: int
    """So many steps are over."""

    @classmethod
    def of(cls, since: datetime, until: datetime, step_s: int, *, counted: datetime | None, now: datetime) -> "Axis":
        """The steps from `since`'s to `until`; `counted` is the first with data between them, None when none has any."""
        start = int(floor(since, step_s).timestamp())
        times = list(range(start, int(until.timestamp()), step_s))
        begun = len(times) if counted is None else int((counted.timestamp() - start) // step_s)
        over = sum(time + step_s <= now.timestamp() for time in times)
        return cls(step_s, times, begun, over)

    @property
    def minutes(self) -> float:
        """Of one step."""
        return self.step_s / 60

    @property
    def averaged(self) -> list[int]:
        """The steps over which a rate can be averaged: before there was anything to count is no time without requests."""
        return self.times[self.begun : self.over]
