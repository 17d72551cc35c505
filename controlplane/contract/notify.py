"""What the routes of notifications take and give. What a channel keeps sealed is taken and never given."""

from datetime import datetime

import msgspec

from controlplane.contract.dto import Input
from controlplane.notify.events import fields_of, severity_word, title_of
from controlplane.notify.kinds import ROWS, EventKind, kind_of
from controlplane.notify.values import Channel, Delivery, Event, Subscription, Team


class TeamInput(Input, frozen=True):
    """`contact`: how to reach them when no channel does."""

    name: str
    contact: str = ""


class TeamList(msgspec.Struct, frozen=True):
    items: list[Team]


class ChannelInput(Input, frozen=True):
    """`config` has the fields of its kind: `url` and `secret` for `webhook`, `url` for `slack` and `teams`, `routing_key`
    for `pagerduty`, `host`, `sender` and `to` for `email`."""

    kind: str
    config: dict[str, str | int | list[str]]
    team: str | None = None

    def __repr__(self) -> str:
        return f"ChannelInput({self.kind}, …)"


class ChannelOutput(msgspec.Struct, frozen=True):
    """`target` shows where it leads, without the secret. `waiting`: deliveries that it has not taken yet."""

    key: str
    kind: str
    team: str | None
    target: str
    state: str
    waiting: int
    failures: int
    last_error: str
    failing_since: datetime | None
    delivered_at: datetime | None
    paused_at: datetime | None
    paused_by: str
    next_test_at: datetime
    created_by: str
    created_at: datetime

    @classmethod
    def of(cls, one: Channel) -> "ChannelOutput":
        return cls(
            one.key, one.kind, one.team, one.target, one.state, one.waiting, one.failures, one.last_error,
            one.failing_since, one.delivered_at, one.paused_at, one.paused_by, one.next_test_at, one.created_by,
            one.created_at,
        )  # fmt: skip


class ChannelList(msgspec.Struct, frozen=True):
    items: list[ChannelOutput]


class PauseInput(Input, frozen=True):
    reason: str


class ResumeInput(Input, frozen=True):
    """`skip`: what waited is not sent now; a replay can still send it."""

    skip: bool = False


class ReplayInput(Input, frozen=True):
    """How far back, in seconds; at most seven days."""

    since_s: int = 86_400


class Replayed(msgspec.Struct, frozen=True):
    """How many events are sent again."""

    channel: str
    events: int


class SubscriptionInput(Input, frozen=True):
    """The first of `channels` is told; the next one when the one before does not take it."""

    channels: tuple[str, ...]
    kinds: tuple[str, ...] = ("*",)
    environments: tuple[str, ...] = ("*",)
    severity: str = "warning"
    team: str | None = None


class SubscriptionOutput(msgspec.Struct, frozen=True):
    key: str
    team: str | None
    channels: list[str]
    kinds: list[str]
    environments: list[str]
    severity: str
    created_by: str
    created_at: datetime

    @classmethod
    def of(cls, one: Subscription) -> "SubscriptionOutput":
        return cls(
            one.key, one.team, list(one.channels), list(one.kinds), list(one.environments),
            severity_word(one.severity), one.created_by, one.created_at,
        )  # fmt: skip


class SubscriptionList(msgspec.Struct, frozen=True):
    items: list[SubscriptionOutput]


class DeliveryOutput(msgspec.Struct, frozen=True):
    channel: str
    state: str
    attempts: int
    error: str
    next_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, one: Delivery) -> "DeliveryOutput":
        next_at = one.next_at if one.ended_at is None else None
        return cls(one.channel, one.state, one.attempts, one.error, next_at, one.ended_at)


class EventOutput(msgspec.Struct, frozen=True):
    """`title` says it in a sentence, `details` what the title leaves out; `data` are the fields as a webhook gets them."""

    id: int
    message_id: str
    kind: str
    environment: str
    severity: str
    title: str
    details: list[str]
    data: dict[str, str]
    created_at: datetime
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    deliveries: list[DeliveryOutput]

    @classmethod
    def of(cls, event: Event, deliveries: tuple[Delivery, ...]) -> "EventOutput":
        title = title_of(kind_of(event.kind), event.data)
        return cls(
            event.id, event.message_id, event.kind, event.environment, event.severity_word, title,
            [f"{label}: {text}" for label, text in fields_of(event.data, title)], event.data, event.created_at,
            event.acknowledged_by, event.acknowledged_at, [DeliveryOutput.of(each) for each in deliveries],
        )  # fmt: skip


class EventPage(msgspec.Struct, frozen=True):
    """The newest first; `next` is the following page's `before`."""

    items: list[EventOutput]
    next: int | None


class EventKindOutput(msgspec.Struct, frozen=True):
    """`reserved`: nothing causes it in this version."""

    key: str
    family: str
    severity: str
    resolves: bool
    reserved: bool

    @classmethod
    def of(cls, row: EventKind) -> "EventKindOutput":
        return cls(row.key, row.family, row.severity.word, row.resolves, row.reserved)


class EventKindList(msgspec.Struct, frozen=True):
    items: list[EventKindOutput]


def every_kind() -> EventKindList:
    return EventKindList([EventKindOutput.of(row) for row in ROWS])
