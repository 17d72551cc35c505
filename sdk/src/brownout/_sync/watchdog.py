"""Tells a sync thread that is slow from one that is stuck, and says when it may be replaced. No clock of its own.

Python cannot end a thread, so a stuck one stays with its descriptors for as long as it is stuck: replacing is bounded by
how many of those there are, and comes later each time (docs/adr/0041).
"""

STALLED_S = 15.0
"""Without any sign of work for so long, a thread is late."""

LOOKS = 3
"""How often in a row it must be found late: a process that did not run at all is not a stalled thread."""

LOOK_EVERY_S = 1.0
MAX_STUCK = 3
"""Replaced threads that are still stuck; with so many, the next one that is stuck is left in office."""

BACKOFF_S = (1.0, 300.0)
_HEALTHY_S = 60.0
"""A thread that worked for so long ends a series of replacements."""


class Watchdog:
    """Hears of every look at the thread in office; `signs` is whatever moves when it works."""

    def __init__(self) -> None:
        self._signs: object = None
        self._moved_at = float("-inf")
        self._looked_at = float("-inf")
        self._late = 0
        self._in_office_since = float("-inf")
        self._not_before = float("-inf")
        self._backoff_s = BACKOFF_S[0]

    def is_stuck(self, now: float, signs: object) -> bool:
        """Whether nothing has moved for long, in several looks apart."""
        if signs != self._signs:
            self._signs, self._moved_at, self._late = signs, now, 0
        elif now - self._looked_at >= LOOK_EVERY_S:
            self._late = self._late + 1 if now - self._moved_at > STALLED_S else 0
            self._looked_at = now
        return self._late >= LOOKS

    def may_replace(self, now: float) -> bool:
        """Whether it is time for another thread; the next one must then wait longer, unless this one works for long."""
        if now < self._not_before:
            return False
        if self._moved_at - self._in_office_since > _HEALTHY_S:
            self._backoff_s = BACKOFF_S[0]
        self._in_office_since, self._not_before = now, now + self._backoff_s
        self._backoff_s = min(self._backoff_s * 4, BACKOFF_S[1])
        self._late = 0
        return True
