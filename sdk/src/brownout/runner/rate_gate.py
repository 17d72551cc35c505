"""A gate before a target whose provider has said that it will refuse."""

import threading
from collections.abc import Callable, Mapping

from brownout.runner.rate_headers import LONGEST_S, Kind, limits, retry_after_s

SHUT_S = 60.0
"""How long to shut the gate after an exhausted quota or refused credentials, where the provider does not say."""


class RateGate:
    """One target in one process. Safe for threads: one lock around every call.

    `now` is in seconds of a monotonic clock. Waits are stretched by up to a tenth, so that instances do not come back
    together.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._lock = threading.Lock()
        self._shut_until = float("-inf")
        self._limits: dict[Kind, tuple[float, float]] = {}
        """What is left, and until when."""

    def observe(self, headers: Mapping[str, str], now: float, wall_s: float) -> None:
        """Reads a response's headers (lower-case names). `wall_s` is now in Unix seconds: some resets are instants."""
        if not headers:
            return
        asked_s, found = retry_after_s(headers, wall_s), limits(headers, wall_s)
        with self._lock:
            for kind, limit in found.items():
                self._limits[kind] = (limit.remaining, now + self._stretched(limit.resets_in_s))
            if asked_s is not None:
                self._shut_until = max(self._shut_until, now + self._stretched(asked_s))

    def shut(self, until: float, now: float) -> None:
        """Lets nothing through until then, and an hour at most."""
        with self._lock:
            seconds = min(max(until - now, 0.0), LONGEST_S)
            self._shut_until = max(self._shut_until, now + self._stretched(seconds))

    def wait_s(self, estimate: float, now: float, output: float = 0.0) -> float:
        """Returns the seconds until a request may go; 0 if it may go now.

        Args:
            estimate: Tokens of the prompt.
            output: The most tokens that may be generated, where they are limited.
        """
        needs: dict[Kind, float] = {
            "requests": 1.0, "tokens": estimate, "input-tokens": estimate, "output-tokens": output,
        }  # fmt: skip
        with self._lock:
            free_at = self._shut_until
            for kind, (remaining, resets_at) in self._limits.items():
                if remaining < needs[kind]:
                    free_at = max(free_at, resets_at)
            return max(0.0, free_at - now)

    def _stretched(self, seconds: float) -> float:
        return seconds * (1.0 + 0.1 * self._chance())
