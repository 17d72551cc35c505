"""The demo's rollout: the new model for everybody, already at a tenth of them."""

from typing import Any

import msgspec

from controlplane.access.actor import Actor
from controlplane.rollouts.service import Rollouts

KEY = "support-sonnet-5"

SPEC: dict[str, Any] = {
    "description": "Sonnet answers better; it must not refuse, fail or break its format more often.",
    "owner": "support-platform",
    "flag": "support-model",
    "control": "haiku-5",
    "treatment": "sonnet-5",
    "stages": [
        {"cohort": "beta", "weight_bp": 2_500, "min_duration_s": 300, "min_units": 50},
        {"weight_bp": 1_000, "min_duration_s": 1_800, "min_units": 300},
        {"weight_bp": 5_000, "min_duration_s": 3_600, "min_units": 2_000},
        {"weight_bp": 10_000, "min_duration_s": 3_600, "min_units": 1_000, "approval": True},
    ],
    "guardrails": [
        {"measure": "refusal", "no_worse_than": 1.5},
        {"measure": "error", "no_worse_than": 2.0},
        {"measure": "format_error", "no_worse_than": 2.0},
        {"measure": "quality", "max_drop": 0.03},
        {"measure": "duration", "no_worse_than": 2.5},
    ],
    "gates": [{"measure": "refusal", "no_worse_than": 3.0}, {"measure": "quality", "max_drop": 0.02}],
    "alpha": 0.05,
}


async def start_rollout(rollouts: Rollouts, actor: Actor, environment: str, speed: int) -> None:
    """Creates it, starts it, and takes it past its beta. Its stages take `speed` times less."""
    stages = [{**stage, "min_duration_s": stage["min_duration_s"] // speed} for stage in SPEC["stages"]]
    spec = msgspec.json.encode({**SPEC, "stages": stages})
    await rollouts.create(actor, environment, KEY, spec, "Sonnet for support replies")
    await rollouts.move(actor, environment, KEY, "start", "the evaluation set looks good")
    await rollouts.move(actor, environment, KEY, "advance", "two weeks of beta without a complaint")
