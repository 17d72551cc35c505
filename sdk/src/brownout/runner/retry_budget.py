"""A retry budget: retries stay a share of the requests, whatever fails.

Source: the retry budget of Finagle and Linkerd, with its floor shared by the fleet.
"""

import threading
from collections import deque

from brownout.model.values import RetryBudget as Budget

UNKNOWN_FLEET = 20
"""The instances to share `min_per_s` with while the fleet's size is unknown."""
_SLICES = 20


class RetryBudget:
    """The requests and retries of one target in one process. Safe for threads: one lock around every call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = _Recent()
        self._retries = _Recent()

    def request(self, now: float, budget: Budget | None) -> None:
        """Counts a request: its first attempt, not its retries."""
        if budget is not None:
            with self._lock:
                self._requests.add(now, budget.ttl_s)

    def take(self, now: float, budget: Budget | None, fleet: int | None = None) -> bool:
        """Takes a token for one retry, before its backoff, and returns whether there was one.

        Args:
            fleet: The number of instances that share `min_per_s`; None if unknown.
        """
        if budget is None:
            return True
        with self._lock:
            earned = budget.ratio * self._requests.count(now, budget.ttl_s)
            floor = budget.min_per_s / max(1, UNKNOWN_FLEET if fleet is None else fleet) * budget.ttl_s
            if earned + floor - self._retries.count(now, budget.ttl_s) < 1 - 1e-9:
                return False
            self._retries.add(now, budget.ttl_s)
            return True


class _Recent:
    """A count over a sliding time, in slices of a twentieth of it."""

    def __init__(self) -> None:
        self._slices: deque[tuple[float, int]] = deque()

    def add(self, now: float, ttl_s: float) -> None:
        if self._slices and now - self._slices[-1][0] < ttl_s / _SLICES:
            since, count = self._slices.pop()
            self._slices.append((since, count + 1))
        else:
            self._drop(now, ttl_s)
            self._slices.append((now, 1))

    def count(self, now: float, ttl_s: float) -> int:
        self._drop(now, ttl_s)
        return sum(count for _, count in self._slices)

    def _drop(self, now: float, ttl_s: float) -> None:
        while self._slices and now - self._slices[0][0] >= ttl_s:
            self._slices.popleft()
