"""How much one SDK key may report: what exceeds it is refused or counted under `(other)`, and either is shown (ADR 0075)."""

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

STARTS_PER_INSTANCE = 4
"""An instance that starts again gets a new name: more counters under one name are not an SDK's."""
