"""What the emergency path answers with."""

from datetime import datetime

import msgspec

NOTICE = "Postgres is unavailable: the fleet carries this activation until it is back."
LIFTED = "Postgres is unavailable: the fleet is told to stop applying this activation."
UNSENT = (
    "Postgres and NATS are unavailable: no instance has this activation yet. This replica sends it once NATS is back. "
    "Until then, use the switch on each host."
)
UNSENT_LIFT = (
    "Postgres and NATS are unavailable: instances still apply this activation. This replica tells them to stop once NATS "
    "is back."
)


class Carried(msgspec.Struct, frozen=True):
    """How many of the live instances say that they apply an activation which is in no commit. The others are not known
    to apply it: they may be cut off."""

    applied: int
    expected: int


class Switched(msgspec.Struct, frozen=True):
    """An emergency activation was switched on, renewed or lifted. `ends_at`: when the fleet stops to apply it unless
    an operator renews it; None: it is lifted."""

    environment: str
    key: str
    extended: bool
    ends_at: datetime | None
    notice: str
