"""Events: listed with their deliveries, acknowledged, sent again."""

from typing import Protocol

import msgspec

from controlplane.access.actor import ANY_ENVIRONMENT, Action, Actor, authorize
from controlplane.access.values import Event as Audited
from controlplane.errors import NotFoundError
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, WriteConnection
from controlplane.notify.acks import AckLinks
from controlplane.notify.checks import MANAGE, hidden_from, sees, visible_to
from controlplane.notify.events import new_event, title_of
from controlplane.notify.kinds import ROWS, kind_of
from controlplane.notify.queries import channels, outbox, routes
from controlplane.notify.values import KEPT, Delivery, Event
from controlplane.notify.writer import EventWriter

MAX_PAGE = 200
_LATEST = 2**62
UNSEEN = "an event that only readers of the audit log can see"
"""What an acknowledgement, which everyone can read, says of a restricted event."""


class AuditLog(Protocol):
    async def record(
        self, connection: WriteConnection, event: Audited, actor: Actor, *, target: str = "", reason: str = ""
    ) -> None: ...


class EventDetail(msgspec.Struct, frozen=True):
    event: Event
    title: str
    deliveries: tuple[Delivery, ...]


class EventFeed:
    def __init__(
        self, database: Database, clock: Clock, *, writer: EventWriter, links: AckLinks, audit: AuditLog
    ) -> None:
        self._database = database
        self._clock = clock
        self._writer = writer
        self._links = links
        self._audit = audit

    async def list_events(
        self,
        actor: Actor,
        *,
        environment: str = "",
        kind: str = "",
        unacknowledged: bool = False,
        before: int | None = None,
        limit: int = 50,
    ) -> list[EventDetail]:
        """Newest first. Events of no environment, and those about people and keys, are the audit log's readers'."""
        wanted = None if not kind else [row.key for row in ROWS if kind in {row.key, row.family}] or [kind]
        async with self._database.reading() as connection:
            found = await routes.list_events(
                connection, before=before or _LATEST, limit=max(1, min(limit, MAX_PAGE)), kinds=wanted,
                environments=visible_to(actor, environment), hidden=hidden_from(actor), unacknowledged=unacknowledged,
            )  # fmt: skip
            sent = await routes.list_deliveries(connection, [each.id for each in found])
        return [
            EventDetail(each, title_of(kind_of(each.kind), each.data), tuple(d for d in sent if d.event == each.id))
            for each in found
        ]

    async def get_event(self, actor: Actor, event: int) -> EventDetail:
        async with self._database.reading() as connection:
            found = await routes.find_event(connection, event) if 0 < event < _LATEST else None
        if found is None or not sees(actor, found):
            raise NotFoundError(f"there is no event {event}, or you may not see it")
        return await self.detail(found)

    async def replay_event(self, actor: Actor, event: int) -> EventDetail:
        """Sends it again through every channel that it went to."""
        authorize(actor, MANAGE, ANY_ENVIRONMENT)
        found = await self.get_event(actor, event)
        async with self._database.transaction() as connection:
            await channels.replay_event(connection, event, self._clock.now())
            await self._audit.record(
                connection, Audited.NOTIFICATIONS_CHANGED, actor, target=f"event {event} sent again"
            )
        self._writer.woken.set()
        return await self.detail(found.event)

    async def acknowledge(self, actor: Actor, event: int) -> EventDetail:
        """Says that someone has it: waiting deliveries stop, and those who were told hear who it is."""
        found = (await self.get_event(actor, event)).event
        authorize(actor, Action.ROLLOUT, found.environment or ANY_ENVIRONMENT)
        return await self._acknowledge(found, actor.name, actor.kind)

    async def by_link(self, token: str) -> EventDetail:
        """The event of a link that was sent to a channel.

        Raises:
            NotFoundError: the link is none of ours, or older than seven days.
        """
        read = self._links.read(token)
        if read is None:
            raise NotFoundError(
                "this link acknowledges nothing: it is incomplete, or was made for another installation"
            )
        async with self._database.reading() as connection:
            found = await routes.find_by_message(connection, read[0])
        if found is None or self._clock.now() - found.created_at > KEPT:
            raise NotFoundError("this link is older than seven days: acknowledge the event in the console")
        return await self.detail(found)

    async def acknowledge_by_link(self, token: str) -> EventDetail:
        found = (await self.by_link(token)).event
        read = self._links.read(token)
        assert read is not None
        return await self._acknowledge(found, f"link sent to {read[1]}", "link")

    async def _acknowledge(self, event: Event, by: str, via: str) -> EventDetail:
        now = self._clock.now()
        async with self._database.transaction() as connection:
            if await routes.acknowledge(connection, event.id, by, via, now):
                await routes.stop_waiting(connection, event.id, now)
                told = await routes.told_channels(connection, event.id)
                kind = kind_of(event.kind)
                title = UNSEEN if kind.restricted else title_of(kind, event.data)
                fields = {"environment": event.environment, "title": title, "by": by, "event": str(event.id)}
                made = msgspec.structs.replace(new_event("acknowledged", fields), dedupe=event.dedupe)
                await outbox.put_to(connection, made, now, told)
            found = await routes.find_event(connection, event.id)
        self._writer.woken.set()
        assert found is not None
        return await self.detail(found)

    async def list_inbox(self, actor: Actor, limit: int = 50) -> list[EventDetail]:
        """What the demo's inbox has received and the actor may see, newest first."""
        async with self._database.reading() as connection:
            found = await routes.list_told(connection, "inbox", limit)
        return [EventDetail(each, title_of(kind_of(each.kind), each.data), ()) for each in found if sees(actor, each)]

    def inbox_link(self, event: Event) -> str:
        return self._links.link(event.message_id, "inbox")

    async def detail(self, event: Event) -> EventDetail:
        async with self._database.reading() as connection:
            sent = await routes.list_deliveries(connection, [event.id])
        return EventDetail(event, title_of(kind_of(event.kind), event.data), tuple(sent))
