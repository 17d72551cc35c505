"""What time it is: the control plane's signed word plus monotonic time (docs/adr/0044-signed-time.md).

No other module of the SDK reads a wall clock: a host's clock may be wrong, and may be set at any moment.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import Enum, auto
from typing import NamedTuple

AGREE_MS = 2_000
"""Two clocks that differ by less are taken to agree: networks and busy machines delay messages by as much."""

ESTABLISHED = 8
"""Heartbeats that may move the time forward: fewer may be all from one replica whose clock is wrong."""

KEPT = 32
"""Heartbeats that the time is judged by."""

_FORGET_MS = 3_600_000
"""A heartbeat heard longer ago says nothing: the oscillators of two machines drift apart."""

Milliseconds = Callable[[], int]


def uptime() -> float:
    """Seconds on a clock that only moves forward and, where the system has one, also counts suspended time."""
    clock = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def uptime_ms() -> int:
    return int(uptime() * 1000)


def wall_ms() -> int:
    """Unix ms by the host's clock. It decides nothing once a heartbeat was heard."""
    return time.time_ns() // 1_000_000


def wall_s() -> float:
    return wall_ms() / 1000


class Heard(Enum):
    """What the instant in a heartbeat says."""

    FRESH = auto()
    """It is newer than every other, or the newest of those that agree with the time."""
    ODD = auto()
    """It was never heard before, and an instant further in the future was."""
    REPEAT = auto()
    """It is not newer than what was heard: it may be a recording."""


class _Sample(NamedTuple):
    offset: int
    """`ts` minus the uptime at which it was heard."""
    ts: int
    at: int


class SignedTime:
    """Unix ms of the control plane, which is Postgres's time. It takes no lock: a fork copies it whole.

    Each heartbeat says: the server's time is at least `ts`. So an estimate from honest heartbeats is never ahead of the
    server; how far it is behind is what the heartbeat took to arrive. An activation may end late by that, never early.
    Every rule here errs in that direction.
    """

    def __init__(self, *, uptime_ms: Milliseconds = uptime_ms, wall_ms: Milliseconds = wall_ms) -> None:
        self.uptime_ms = uptime_ms
        self._wall_ms = wall_ms
        self._wall = wall_ms() - uptime_ms()
        """The earliest time that the wall clock told, by its offset to uptime."""
        self._offset: int | None = None
        """The signed time's; None before a heartbeat was heard."""
        self._proven, self._proven_at = -uptime_ms(), uptime_ms()
        """No server's clock can be less ahead of uptime, and since when that is known."""
        self._base = self._wall
        """What a few heartbeats can move back, but not forward."""
        self._samples: tuple[_Sample, ...] = ()
        self._newest = 0
        """No heartbeat that is not newer than this is listened to."""
        self._farthest = 0
        self._shown = 0
        self._dated: int | None = None
        self.is_live = False
        """Whether a heartbeat has confirmed the head in this process or the one that it was forked from."""

    def now_ms(self) -> int:
        """Never moves back, unless signed time shows that it was more than AGREE_MS ahead."""
        at, signed = self.uptime_ms(), self._offset
        now = at + (self._unsigned(at) if signed is None else signed)
        shown = self._shown
        if now < shown and (signed is None or shown - now <= AGREE_MS):
            return shown
        self._shown = now
        return now

    def _unsigned(self, at: int) -> int:
        """A wall clock that is put forward must end nothing, so of all its readings the earliest counts."""
        self._wall = min(self._wall, self._wall_ms() - at)
        return max(self._wall, self._proven)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)

    @property
    def skew_ms(self) -> int | None:
        """How far the wall clock is ahead of signed time; None before a heartbeat was heard."""
        return None if self._offset is None else self._wall_ms() - self.now_ms()

    @property
    def age_s(self) -> float | None:
        """How long ago the control plane last vouched for the head held; None when it never did."""
        return None if self._dated is None else max(0, self.uptime_ms() - self._dated) / 1000

    def hear(self, ts: int) -> Heard:
        """Takes the instant of a heartbeat that has just arrived."""
        at = self.uptime_ms()
        recent = tuple(sample for sample in self._samples if at - sample.at <= _FORGET_MS)
        if ts <= self._newest or any(sample.ts == ts for sample in recent):
            return Heard.REPEAT
        if not recent:
            self._base = self._unsigned(at) if self._offset is None else self._offset
        self._samples = (*recent[1 - KEPT :], _Sample(ts - at, ts, at))
        self._decide(at)
        newest = max((sample.ts for sample in recent if self.is_past(sample.ts)), default=0)
        fresh = ts > self._farthest or (self.is_past(ts) and ts > newest)
        self._farthest = max(self._farthest, ts)
        return Heard.FRESH if fresh else Heard.ODD

    def _decide(self, at: int) -> None:
        """Of the clocks that are heard, the slowest counts that cannot be proven wrong and is no exception."""
        offsets = sorted(sample.offset for sample in self._samples)
        lines, base = _lines(offsets), self._base
        if at - self._proven_at <= _FORGET_MS:
            lines = [line for line in lines if line[-1] >= self._proven - AGREE_MS] or lines
            base = max(base, self._proven)
        if len(offsets) >= ESTABLISHED:
            spoken = [line for line in lines if 4 * len(line) >= len(offsets)] or lines
            offset = self._offset = _middle(spoken[0])
            self._newest = max([self._newest, *(s.ts for s in self._samples if s.offset <= offset + AGREE_MS)])
        else:
            self._offset = min(base, _middle(lines[0]))

    def is_past(self, ts: int) -> bool:
        """Whether `ts` is no instant of the future, by what is known of the time."""
        return ts <= self.now_ms() + AGREE_MS

    def vouch(self, ts: int, *, live: bool = False) -> None:
        """At `ts` the control plane had exactly the head that is held. `live`: a heartbeat said so, just now."""
        at = self.uptime_ms()
        made = at - max(0, self.now_ms() - ts)
        self._dated = made if self._dated is None else max(self._dated, made)
        self.is_live = self.is_live or live

    def passed(self, ts: int) -> None:
        """A commit of `ts` was applied: Postgres's clock has passed it, whatever heartbeats say."""
        at = self.uptime_ms()
        if ts - at > self._proven or at - self._proven_at > _FORGET_MS:
            self._proven, self._proven_at = ts - at, at
        self.vouch(ts)

    def remember(self, ts: int) -> None:
        """`ts` comes from a verified file: Postgres's clock has passed it, and a heartbeat of before is a recording."""
        self._newest = self._farthest = max(self._newest, ts)
        self.passed(ts)


def _lines(offsets: Sequence[int]) -> list[list[int]]:
    """Offsets, in order, that agree with the first of their line: one line for each clock that was heard."""
    lines: list[list[int]] = []
    for offset in offsets:
        if lines and offset - lines[-1][0] <= AGREE_MS:
            lines[-1].append(offset)
        else:
            lines.append([offset])
    return lines


def _middle(line: Sequence[int]) -> int:
    return line[(len(line) - 1) // 2]
