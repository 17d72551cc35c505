"""How much one SDK key may report: what exceeds it is refused or counted under `(other)`, and either is shown (ADR 0075)."""

from collections.abc import Callable

import msgspec


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    """Per SDK key of one environment. `BROWNOUT_TELEMETRY_…`, see docs/signals.md."""

    instances: int = 5_000
    """Remembered by presence, and reporting within two hours. Once as many are known, new ones come a sixtieth a minute."""
    series: int = 2_000
    """A day: combinations of labels of requests, policies and custom measures together."""
    evaluations: int = 20_000
    """A day: combinations of flag, variant and reason."""
    bytes_per_minute: int = 128 * 1024 * 1024
    """Into one replica; as much at once."""


ARM_SERIES = 64
"""A day and key: arms of stages. Sixteen stages with two arms each is what an SDK remembers."""

BAD_UNITS = 10_000
"""Of one stage and key that are told apart; a verdict has long been reached."""

STARTS_PER_INSTANCE = 4
"""An instance that starts again gets a new name: more counters under one name are not an SDK's."""


class Buckets:
    """Token buckets, one per key, full at first; `now` returns monotonic seconds."""

    def __init__(self, at_once: float, per_minute: float, now: Callable[[], float]) -> None:
        self._at_once = at_once
        self._per_minute = per_minute
        self._now = now
        self._left: dict[tuple[str, str], tuple[float, float]] = {}

    def take(self, environment: str, key: str, cost: int) -> bool:
        """Whether there was room for `cost`."""
        now = self._now()
        left, at = self._left.get((environment, key), (self._at_once, now))
        left = min(self._at_once, left + (now - at) * self._per_minute / 60.0)
        enough = left >= cost
        self._left[environment, key] = (left - cost if enough else left, now)
        return enough
