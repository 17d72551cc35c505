"""How long to wait for a target's first content, learned from what it usually takes."""

import threading

from brownout.telemetry.sketch import bucket_of, quantile

FACTOR, QUANTILE = 4.0, 0.95
LEAST_S, MOST_S = 2.0, 30.0
ENOUGH = 20
"""Observations before anything is concluded from them; until then a target gets the longest limit."""
GENERATION = 500
"""Observations after which the older half is forgotten."""
_EVERY = 16


class FirstToken:
    """One target in one process. Safe for threads: one lock around every call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._older: dict[int, int] = {}
        self._newer: dict[int, int] = {}
        self._n = 0
        self._in_newer = 0
        self._limit_s = MOST_S

    def limit_s(self, first_token_ms: int | None = None) -> float:
        """Returns the longest wait. `first_token_ms` is the target's own setting, which overrides what is learned."""
        return self._limit_s if first_token_ms is None else first_token_ms / 1000

    def observe(self, seconds: float) -> None:
        """Learns how long the first content took. After a hang, pass the limit that was waited: without it a target
        that has become slower would never be seen to answer."""
        with self._lock:
            bucket = bucket_of(seconds * 1000)
            self._newer[bucket] = self._newer.get(bucket, 0) + 1
            self._n += 1
            self._in_newer += 1
            if self._n == ENOUGH or (self._n > ENOUGH and self._n % _EVERY == 0):
                self._limit_s = self._learned()
            if self._in_newer >= GENERATION:
                self._older, self._newer, self._in_newer = self._newer, {}, 0

    def _learned(self) -> float:
        both = dict(self._older)
        for bucket, count in self._newer.items():
            both[bucket] = both.get(bucket, 0) + count
        usual_ms = quantile(both, QUANTILE)
        return MOST_S if usual_ms is None else min(max(FACTOR * usual_ms / 1000, LEAST_S), MOST_S)
