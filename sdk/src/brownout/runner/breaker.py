"""A circuit breaker: whether a target is worth an attempt (ADR 0127).

It opens on three kinds of evidence: a burst of failures and nothing else, failures that outnumber successes, or
attempts in a row that hang. The second is a CUSUM (Page, 1954) of 75 % failures against 25 %, whose steps are +1 and
-1: failures at 25 % reach a lead of k about once in 3^k attempts.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Literal

from brownout.model.values import ErrorClass

Admission = Literal["refused", "admitted", "probe"]

WINDOW_S = 30.0
BURST, BURST_S = 5, 5.0
"""Opens: so many failures in so many seconds, and no success in the window."""
LEAD = 16
"""Opens: failures ahead of successes by so many."""
RECOVERING_LEAD = 5
"""The same while the target recovers: it has just been down."""
HANGS = 3
"""Opens: so many attempts in a row without an answer."""
SHORTEST_OPEN_S, LONGEST_OPEN_S = 5.0, 30.0
RAMP_S, LEAST_SHARE = 10.0, 0.2
PROBE_LOST_S = 120.0
"""A probe whose outcome is never reported makes room for another after this time."""

_FAILURES: frozenset[ErrorClass] = frozenset({"server_error", "overloaded", "timeout"})
"""Other classes are answers: they say nothing of a target's health, and as a probe's outcome they show that it lives."""


class Breaker:
    """One target in one process. Safe for threads: one lock around every call; nothing waits under it.

    `chance` returns a random number from 0 to 1; `now` is in seconds of a monotonic clock.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._lock = threading.Lock()
        self._openings = 0
        """Openings since the target was last healthy for a whole ramp."""
        self._open_until: float | None = None
        self._anyone_from = 0.0
        """From here on a request without another rung may probe: there may be no other requests."""
        self._probe_until: float | None = None
        self._ramp_since: float | None = None
        self._lead = self._hangs = 0
        self._forget()

    def admit(self, now: float, has_alternative: bool) -> Admission:
        """Returns whether to make an attempt. After an admission, report its outcome with that admission.

        Args:
            has_alternative: Whether another rung answers if this attempt fails; such requests probe first.
        """
        with self._lock:
            if self._open_until is not None:
                due = now >= (self._open_until if has_alternative else self._anyone_from)
                if not due or (self._probe_until is not None and now < self._probe_until):
                    return "refused"
                self._probe_until = now + PROBE_LOST_S
                return "probe"
            if self._ramping(now) and self._chance() >= max(LEAST_SHARE, (now - (self._ramp_since or now)) / RAMP_S):
                return "refused"
            return "admitted"

    def success(self, now: float, admission: Admission = "admitted") -> None:
        """The target answered."""
        with self._lock:
            if self._open_until is None:
                self._ramping(now)
                self._lead = max(0, self._lead - 1)
                self._hangs = 0
                self._last_at = self._succeeded_at = now
            elif admission == "probe":
                self._open_until = self._probe_until = None
                self._ramp_since = now
                self._forget()

    def failure(
        self, now: float, error_class: ErrorClass, waited_own_limit: bool = True, admission: Admission = "admitted"
    ) -> None:
        """The attempt failed.

        Args:
            waited_own_limit: For `timeout`: the target was given its own limit, and not less by a caller in a hurry.
        """
        if error_class not in _FAILURES:
            self._answered(now, admission)
        elif error_class == "timeout" and not waited_own_limit:
            self.abandoned(admission)
        else:
            with self._lock:
                if self._open_until is None:
                    self._count(now, hung=error_class == "timeout")
                elif admission == "probe":
                    self._open(now)

    def abandoned(self, admission: Admission) -> None:
        """The attempt ended without saying anything of the target: it was cancelled, or never sent."""
        if admission == "probe":
            with self._lock:
                self._probe_until = None

    def state(self, now: float) -> Literal["closed", "open", "recovering"]:
        """Whether it admits attempts, none, or more and more of them."""
        with self._lock:
            return "open" if self._open_until is not None else "recovering" if self._ramping(now) else "closed"

    def _answered(self, now: float, admission: Admission) -> None:
        if admission == "probe":
            self.success(now, admission)
        else:
            with self._lock:
                self._hangs = 0

    def _count(self, now: float, *, hung: bool) -> None:
        if now - self._last_at > WINDOW_S:
            self._lead = 0
        self._last_at = now
        self._lead += 1
        self._hangs = self._hangs + 1 if hung else 0
        self._failed_at.append(now)
        burst = (
            len(self._failed_at) == BURST
            and now - self._failed_at[0] <= BURST_S
            and now - self._succeeded_at > WINDOW_S
        )
        if burst or self._hangs >= HANGS or self._lead >= (RECOVERING_LEAD if self._ramping(now) else LEAD):
            self._open(now)

    def _open(self, now: float) -> None:
        seconds = min(LONGEST_OPEN_S, SHORTEST_OPEN_S * 2.0 ** min(self._openings, 8)) * (0.8 + 0.4 * self._chance())
        self._openings += 1
        self._open_until, self._anyone_from = now + seconds, now + 2 * seconds
        self._probe_until = self._ramp_since = None
        self._forget()

    def _ramping(self, now: float) -> bool:
        if self._ramp_since is not None and now - self._ramp_since >= RAMP_S:
            self._ramp_since, self._openings = None, 0
        return self._ramp_since is not None

    def _forget(self) -> None:
        self._lead = self._hangs = 0
        self._failed_at: deque[float] = deque(maxlen=BURST)
        self._succeeded_at = self._last_at = float("-inf")
