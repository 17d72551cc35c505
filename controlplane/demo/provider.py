"""A made-up model provider, in memory: models with their own speed, quality and moods, and faults to switch on."""

import asyncio
import random
from collections.abc import Mapping

import msgspec

from brownout.model.values import ErrorClass
from controlplane.demo.condition import Condition


class Answer(msgspec.Struct, frozen=True):
    """What came back; times in milliseconds. Without `error`, it is an answer (perhaps a refusal)."""

    duration_ms: float
    time_to_first_token_ms: float
    output_tokens: int = 0
    error: ErrorClass | None = None
    refused: bool = False
    format_ok: bool = True
    quality: float = 0.0


class Model(msgspec.Struct, frozen=True):
    """How a model behaves on a good day. Shares are of requests."""

    median_ms: float
    tokens: int
    errors: float
    refusals: float
    bad_formats: float
    quality: float


MODELS: Mapping[str, Model] = {
    "claude-haiku-5": Model(620, 210, 0.004, 0.012, 0.006, 0.86),
    "claude-sonnet-5": Model(980, 260, 0.004, 0.010, 0.003, 0.92),
    "gpt-6-mini": Model(540, 180, 0.006, 0.015, 0.010, 0.84),
}
_UNKNOWN = Model(800, 200, 0.01, 0.02, 0.01, 0.8)

TIMEOUT_MS = 8_000


class Provider:
    """`answer` says what will come back and how long it takes; `spend` lets that time pass, `speed` times faster."""

    def __init__(self, chance: random.Random, *, speed: float = 1.0) -> None:
        self._chance = chance
        self._speed = speed
        self.condition = Condition()

    async def spend(self, duration_ms: float) -> None:
        await asyncio.sleep(duration_ms / 1000 / self._speed)

    def answer(self, provider: str, model: str) -> Answer:
        usual = MODELS.get(model, _UNKNOWN)
        condition, chance = self.condition, self._chance.random
        fault = condition.fault if condition.provider == provider else None
        degraded = condition.degraded_model == model
        duration = usual.median_ms * self._chance.lognormvariate(0, 0.35)
        if fault == "outage":
            return Answer(duration * 0.1, 0, error="server_error" if chance() < 0.7 else "timeout")
        if fault == "rate_limits" and chance() < 0.6:
            return Answer(duration * 0.05, 0, error="rate_limited")
        if fault == "slow":
            duration *= 6
        if duration > TIMEOUT_MS:
            return Answer(TIMEOUT_MS, 0, error="timeout")
        if chance() < usual.errors + (0.06 if degraded else 0.0):
            return Answer(duration * 0.3, 0, error="overloaded" if chance() < 0.5 else "server_error")
        refusals = 0.4 if fault == "refusals" else usual.refusals + (0.15 if degraded else 0.0)
        return Answer(
            duration_ms=duration,
            time_to_first_token_ms=duration * self._chance.uniform(0.15, 0.3),
            output_tokens=int(usual.tokens * self._chance.lognormvariate(0, 0.3)),
            refused=chance() < refusals,
            format_ok=chance() >= usual.bad_formats + (0.08 if degraded else 0.0),
            quality=min(1.0, max(0.0, self._chance.gauss(usual.quality - (0.12 if degraded else 0.0), 0.05))),
        )
