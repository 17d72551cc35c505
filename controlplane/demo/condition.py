"""What is broken in the demo at the moment."""

from typing import Literal

import msgspec

Fault = Literal["outage", "rate_limits", "slow", "refusals"]
FAULTS: tuple[Fault, ...] = ("outage", "rate_limits", "slow", "refusals")


class Condition(msgspec.Struct, frozen=True):
    """What is wrong: a fault of one provider, and whether the new model has gone bad. All well by default."""

    provider: str = ""
    fault: Fault | None = None
    degraded_model: str = ""
