"""Notifications as the API, the command line and the console read them. No SQL."""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from controlplane.notify.kinds import Severity

DeliveryState = Literal["pending", "waiting", "delivered", "failed", "skipped"]
ChannelState = Literal["untested", "working", "failing", "paused"]

BUILTIN = "alert-webhook"
"""The channel of `BROWNOUT_ALERT_WEBHOOK`: the settings make it, and only they change where it leads."""

KEPT = timedelta(days=7)
"""How long a paused channel keeps what it would have sent, and how far back a replay reaches."""
EVENTS_KEPT = timedelta(days=30)
FAILOVER_AFTER = timedelta(seconds=60)
"""A page that its channel has not taken by then goes to the next channel."""
GIVE_UP_AFTER = timedelta(days=3)
TEST_EVERY = timedelta(days=7)


class Team(msgspec.Struct, frozen=True):
    """People who are told together. `contact` says how to reach them otherwise."""

    key: str
    name: str
    contact: str
    created_by: str
    created_at: datetime


class Channel(msgspec.Struct, frozen=True):
    """A way to tell people. `target` shows where it leads, without the secret; `failures` are deliveries in a row."""

    key: str
    team: str | None
    kind: str
    target: str
    created_by: str
    created_at: datetime
    paused_at: datetime | None
    paused_by: str
    failures: int
    failing_since: datetime | None
    last_error: str
    announced_at: datetime | None
    delivered_at: datetime | None
    next_test_at: datetime
    waiting: int = 0
    """Deliveries that it has not taken yet."""

    @property
    def state(self) -> ChannelState:
        if self.paused_at is not None:
            return "paused"
        if self.announced_at is not None:
            return "failing"
        return "untested" if self.delivered_at is None else "working"

    @property
    def builtin(self) -> bool:
        return self.key == BUILTIN


class Subscription(msgspec.Struct, frozen=True):
    """Which events go where. `channels`: the first gets them; the next, in order, when the one before does not take
    them. `kinds` holds kinds, families or `*`; `environments` holds keys or `*`."""

    key: str
    team: str | None
    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    environments: tuple[str, ...]
    severity: int
    created_by: str
    created_at: datetime


class Event(msgspec.Struct, frozen=True):
    """Something that the product did or noticed. `data` holds its fields."""

    id: int
    message_id: str
    kind: str
    environment: str
    severity: int
    dedupe: str
    data: dict[str, str]
    created_at: datetime
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    acknowledged_via: str | None = None

    @property
    def severity_word(self) -> str:
        known = [each for each in Severity if each <= self.severity]
        return (known[-1] if known else Severity.NOTICE).word


class Delivery(msgspec.Struct, frozen=True):
    """One event on its way through one channel."""

    id: int
    event: int
    channel: str
    channel_kind: str
    state: DeliveryState
    attempts: int
    error: str
    created_at: datetime
    next_at: datetime
    ended_at: datetime | None
