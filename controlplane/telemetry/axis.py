"""A chart's steps: since when anything was counted, and which of them are over. Pure."""

from datetime import datetime

import msgspec

from controlplane.telemetry.series import floor


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
