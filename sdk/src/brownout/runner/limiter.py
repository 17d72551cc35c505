"""A concurrency limit that learns what a target takes, and keeps the last of it for what matters.

Additive increase, multiplicative decrease (Chiu and Jain, 1989), and admission by criticality (Google SRE, "Handling
Overload").
"""

import threading
from collections.abc import Mapping
from typing import Literal

from brownout.model.resources import Criticality

Outcome = Literal["ok", "overloaded", "ramp", "unknown"]
"""`ramp`: the provider asks to slow down. `unknown` says nothing of the target's load."""

FIRST, LEAST, MOST = 20.0, 1.0, 1_000.0
_DECREASE: Mapping[Outcome, float] = {"overloaded": 0.7, "ramp": 0.5}
SHARES: Mapping[Criticality, float] = {"critical_plus": 1.0, "critical": 0.9, "sheddable_plus": 0.7, "sheddable": 0.5}
"""Up to which part of the limit a request is admitted."""


class Limiter:
    """One target in one process. Safe for threads: one lock around every call."""

    def __init__(self, limit: float = FIRST) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._in_flight = 0
        self._answering_late = 0
        """Attempts begun before the last decrease: they speak of the load that it has already answered."""

    @property
    def limit(self) -> float:
        """How many concurrent calls the target takes, as far as known."""
        return self._limit

    @property
    def in_flight(self) -> int:
        """How many calls run now."""
        return self._in_flight

    def acquire(self, criticality: Criticality) -> bool:
        """Takes a place and returns True, or False if there is none for this criticality."""
        with self._lock:
            if self._in_flight >= SHARES[criticality] * self._limit:
                return False
            self._in_flight += 1
            return True

    def release(self, outcome: Outcome) -> None:
        """Gives the place back, once for each `acquire` that returned True."""
        with self._lock:
            full = self._in_flight * 2 >= self._limit
            self._in_flight = max(0, self._in_flight - 1)
            late = self._answering_late > 0
            self._answering_late = max(0, self._answering_late - 1)
            if outcome == "ok" and full:
                self._limit = min(MOST, self._limit + 1 / self._limit)
            elif outcome in _DECREASE and not late:
                self._limit = max(LEAST, self._limit * _DECREASE[outcome])
                self._answering_late = self._in_flight
