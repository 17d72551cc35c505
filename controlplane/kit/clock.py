"""Time is passed in: services take a Clock for instants and a Monotonic for durations. Tests move both."""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

Monotonic = Callable[[], float]
"""Seconds since some fixed moment. Setting the server's clock does not move it, so durations are measured by it."""

monotonic: Monotonic = time.monotonic


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        ...


class SystemClock:
    """This server's wall clock. Replicas use PostgresClock: their wall clocks may disagree."""

    def now(self) -> datetime:
        return datetime.now(UTC)


SAMPLES = 8
"""Round trips that the offset is judged by: a few seconds' worth, in which no crystal drifts noticeably."""

TOLERANCE_S = 0.05
"""Two round trips that disagree by more than this, beyond their own uncertainty, show that a clock was set."""


class _Sample(NamedTuple):
    ahead_s: float
    """How far Postgres's clock is ahead of our monotonic one."""
    within_s: float


class PostgresClock:
    """Postgres's time, also while Postgres is away: the last known offset plus monotonic time.

    The offset comes from round trips: Postgres read its clock at their middle, give or take half of the round trip, and
    the shortest of the last SAMPLES is the surest (the clock filter of RFC 5905, section 10). Before the first round
    trip the wall clock serves; afterwards nothing depends on it.
    """

    def __init__(self, wall: Clock | None = None, monotonic: Monotonic = monotonic) -> None:
        self.monotonic = monotonic
        self._wall = wall or SystemClock()
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)
        self._ahead_s: float | None = None

    def now(self) -> datetime:
        if self._ahead_s is None:
            return self._wall.now()
        return datetime.fromtimestamp(self.monotonic() + self._ahead_s, UTC)

    def sample(self, asked: float, instant: datetime, answered: float) -> None:
        """Postgres's clock read `instant` between two moments of `monotonic`."""
        new = _Sample(instant.timestamp() - (asked + answered) / 2, (answered - asked) / 2)
        if any(abs(new.ahead_s - old.ahead_s) > new.within_s + old.within_s + TOLERANCE_S for old in self._samples):
            self._samples.clear()
        self._samples.append(new)
        self._ahead_s = min(self._samples, key=lambda sample: sample.within_s).ahead_s

    @property
    def wall_ahead_s(self) -> float | None:
        """How far this server's wall clock is ahead of Postgres's; None before the first round trip."""
        return None if self._ahead_s is None else (self._wall.now() - self.now()).total_seconds()
