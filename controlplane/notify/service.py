"""Teams, channels and subscriptions: who is told what, and how."""

from collections.abc import Sequence
from datetime import timedelta

from controlplane.access.actor import ANY_ENVIRONMENT, Actor, authorize
from controlplane.access.values import Event as Audited
from controlplane.errors import ConflictError, Fault, InvalidInputError, NotFoundError
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, WriteConnection
from controlplane.kit.secret_box import SecretBox
from controlplane.notify.checks import (
    MANAGE,
    MAX_LISTED,
    check,
    key_faults,
    known_faults,
    list_faults,
    may_list,
    room_for,
    text_faults,
)
from controlplane.notify.configs import read_config
from controlplane.notify.events import new_event
from controlplane.notify.feed import AuditLog, EventDetail, EventFeed
from controlplane.notify.kinds import FAMILIES, KINDS, WORDS, severity_of
from controlplane.notify.queries import channels, outbox, routes
from controlplane.notify.values import BUILTIN, KEPT, TEST_EVERY, Channel, Subscription, Team
from controlplane.notify.writer import EventWriter

MAX_CHANNELS, MAX_TEAMS, MAX_SUBSCRIPTIONS = 100, 100, 200


class Notifications:
    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        box: SecretBox,
        writer: EventWriter,
        audit: AuditLog,
        events: EventFeed,
        inbox: bool = False,
    ) -> None:
        """`inbox`: whether channels may lead to the demo's inbox page."""
        self.events = events
        self._database = database
        self._clock = clock
        self._box = box
        self._writer = writer
        self._audit = audit
        self.inbox = inbox

    async def list_teams(self, actor: Actor) -> list[Team]:
        may_list(actor)
        async with self._database.reading() as connection:
            return await routes.list_teams(connection)

    async def put_team(self, actor: Actor, key: str, name: str, contact: str = "") -> Team:
        """Raises InvalidInputError, ForbiddenError, or ConflictError: there are too many."""
        authorize(actor, MANAGE, ANY_ENVIRONMENT)
        check(key_faults(key), text_faults(name, "/name", 1, 100), text_faults(contact, "/contact", 0, 300))
        now = self._clock.now()
        async with self._database.transaction() as connection:
            await channels.lock_routes(connection)
            known = {each.key: each for each in await routes.list_teams(connection)}
            room_for(key, known, MAX_TEAMS, "teams")
            await routes.put_team(connection, Team(key, name.strip(), contact.strip(), actor.name, now))
            await self._changed(connection, actor, f"team {key}")
            return next(each for each in await routes.list_teams(connection) if each.key == key)

    async def delete_team(self, actor: Actor, key: str) -> None:
        authorize(actor, MANAGE, ANY_ENVIRONMENT)
        async with self._database.transaction() as connection:
            await channels.lock_routes(connection)
            if uses := await routes.team_uses(connection, key):
                raise ConflictError(f"{uses} channels and subscriptions belong to the team {key}: change those first")
            if not await routes.delete_team(connection, key):
                raise NotFoundError(f"there is no team {key}")
            await self._changed(connection, actor, f"team {key} deleted")

    async def list_channels(self, actor: Actor) -> list[Channel]:
        may_list(actor)
        async with self._database.reading() as connection:
            return await channels.list_channels(connection)

    async def get_channel(self, actor: Actor, key: str) -> Channel:
        may_list(actor)
        async with self._database.reading() as connection:
            return _found(await channels.find_channel(connection, key), key)

    async def put_channel(
        self, actor: Actor, key: str, kind: str, config: dict[str, object], team: str | None = None
    ) -> Channel:
        """A new channel, or another place for one that is there. `config` is sealed and never shown again.

        Raises:
            InvalidInputError: the kind, or a field of `config`.
            ConflictError: it is the channel of the settings.
        """
        authorize(actor, MANAGE, ANY_ENVIRONMENT)
        _not_builtin(key)
        read = read_config(kind, config, inbox=self.inbox)
        check(key_faults(key), read.faults)
        now = self._clock.now()
        async with self._database.transaction() as connection:
            await channels.lock_routes(connection)
            await self._check_team(connection, team)
            room_for(key, {each.key for each in await channels.list_channels(connection)}, MAX_CHANNELS, "channels")
            await channels.put_channel(
                connection, key, team=team, kind=kind, target=read.target, sealed=self._box.seal(read.sealed, key),
                by=actor.name, now=now, next_test_at=now + TEST_EVERY,
            )  # fmt: skip
            await self._changed(connection, actor, f"channel {key} leads to {read.target}")
            return _found(await channels.find_channel(connection, key), key)

    async def delete_channel(self, actor: Actor, key: str) -> None:
        """Pauses it first, so that no replica takes another delivery of it.

        Raises:
            ConflictError: a subscription names it; or a replica is sending through it, and it is only paused.
        """
        authorize(actor, MANAGE, ANY_ENVIRONMENT)
        _not_builtin(key)
        async with self._database.transaction() as connection:
            await self._check_unused(connection, key)
            if await channels.pause(connection, key, actor.name, self._clock.now()):
                await self._changed(connection, actor, f"channel {key} paused", "It is about to be deleted.")
        async with self._database.transaction() as connection:
            await self._check_unused(connection, key)
            if await channels.lock_waiting(connection, key):
                raise ConflictError(
                    f"a delivery through the channel {key} is under way. The channel is paused and not deleted: "
                    "try again in half a minute"
                )
            if not await channels.delete_channel(connection, key):
                raise NotFoundError(f"there is no channel {key}")
            await self._changed(connection, actor, f"channel {key} deleted")

    async def test(self, actor: Actor, key: str) -> EventDetail:
        """Sends a test through the channel; the event shows what comes of it."""
        authorize(actor, MANAGE, ANY_ENVIRONMENT)
        async with self._database.transaction() as connection:
            channel = _found(await channels.find_channel(connection, key), key)
            if channel.paused_at is not None:
                raise ConflictError(f"the channel {key} is paused: resume it first")
            event = new_event("channel_test", {"channel": key, "why": f"{actor.name} asked for this test."})
            await outbox.put_to(connection, event, self._clock.now(), [key])
            made = await routes.find_by_message(connection, event.message_id)
        self._writer.woken.set()
        assert made is not None
        return await self.events.detail(made)

    async def pause(self, actor: Actor, key: str, reason: str) -> Channel:
        """Nothing goes out until it is resumed; what it would have sent is kept for seven days."""
        authorize(actor, MANAGE, ANY_ENVIRONMENT)
        check(text_faults(reason, "/reason", 1, 500))
        async with self._database.transaction() as connection:
            _found(await channels.find_channel(connection, key), key)
            if not await channels.pause(connection, key, actor.name, self._clock.now()):
                raise ConflictError(f"the channel {key} is paused already")
            await self._changed(connection, actor, f"channel {key} paused", reason)
            return _found(await channels.find_channel(connection, key), key)

    async def resume(self, actor: Actor, key: str, *, skip: bool = False) -> Channel:
        """What waited goes out now, oldest first; with `skip` it does not, and `replay` can still send it."""
        authorize(actor, MANAGE, ANY_ENVIRONMENT)
        async with self._database.transaction() as connection:
            _found(await channels.find_channel(connection, key), key)
            if skip:
                await channels.skip_waiting(connection, key, self._clock.now())
            if not await channels.resume(connection, key, self._clock.now()):
                raise ConflictError(f"the channel {key} is not paused")
            await self._changed(connection, actor, f"channel {key} resumed")
            found = _found(await channels.find_channel(connection, key), key)
        self._writer.woken.set()
        return found

    async def replay(self, actor: Actor, key: str, since: timedelta) -> int:
        """Sends again what the channel was given within `since`, in the same order; returns how many."""
        authorize(actor, MANAGE, ANY_ENVIRONMENT)
        if not timedelta(0) < since <= KEPT:
            message = f"at most {KEPT.days} days"
            raise InvalidInputError(message, (Fault("invalid_value", message, "/since_s"),))
        now = self._clock.now()
        async with self._database.transaction() as connection:
            _found(await channels.find_channel(connection, key), key)
            again = await channels.replay(connection, key, now - since, now)
            await self._changed(connection, actor, f"channel {key} replays {again} events")
        self._writer.woken.set()
        return again

    async def list_subscriptions(self, actor: Actor) -> list[Subscription]:
        may_list(actor)
        async with self._database.reading() as connection:
            return await routes.list_subscriptions(connection)

    async def put_subscription(
        self,
        actor: Actor,
        key: str,
        *,
        channels_: Sequence[str],
        kinds: Sequence[str] = ("*",),
        environments: Sequence[str] = ("*",),
        severity: str = "warning",
        team: str | None = None,
    ) -> Subscription:
        """Raises InvalidInputError: an unknown channel, kind, environment or severity."""
        authorize(actor, MANAGE, ANY_ENVIRONMENT)
        check(
            key_faults(key),
            list_faults(channels_, "/channels"),
            list_faults(kinds, "/kinds"),
            list_faults(environments, "/environments"),
            known_faults(kinds, {*KINDS, *FAMILIES, "*"}, "/kinds", "kind or family of events"),
            known_faults((severity,), set(WORDS), "/severity", "severity", single=True),
        )
        now = self._clock.now()
        made = Subscription(
            key, team, tuple(channels_), tuple(kinds), tuple(environments), int(severity_of(severity)), actor.name, now
        )
        async with self._database.transaction() as connection:
            await channels.lock_routes(connection)
            await self._check_team(connection, team)
            known = {each.key for each in await channels.list_channels(connection)}
            check(known_faults(channels_, known, "/channels", "channel"))
            room_for(
                key, {s.key for s in await routes.list_subscriptions(connection)}, MAX_SUBSCRIPTIONS, "subscriptions"
            )
            await routes.put_subscription(connection, made)
            await self._changed(connection, actor, f"subscription {key}")
            return next(each for each in await routes.list_subscriptions(connection) if each.key == key)

    async def delete_subscription(self, actor: Actor, key: str) -> None:
        authorize(actor, MANAGE, ANY_ENVIRONMENT)
        async with self._database.transaction() as connection:
            await channels.lock_routes(connection)
            if not await routes.delete_subscription(connection, key):
                raise NotFoundError(f"there is no subscription {key}")
            await self._changed(connection, actor, f"subscription {key} deleted")

    @staticmethod
    async def _check_unused(connection: WriteConnection, key: str) -> None:
        await channels.lock_routes(connection)
        if uses := await routes.using(connection, key):
            names = ", ".join(each.key for each in uses[:MAX_LISTED])
            raise ConflictError(f"the channel {key} is named by the subscriptions {names}: change those first")

    async def _check_team(self, connection: WriteConnection, team: str | None) -> None:
        if team is not None and not await routes.has_team(connection, team):
            message = f"there is no team {team[:100]}"
            raise InvalidInputError(message, (Fault("unknown_reference", message, "/team"),))

    async def _changed(self, connection: WriteConnection, actor: Actor, what: str, reason: str = "") -> None:
        await self._audit.record(connection, Audited.NOTIFICATIONS_CHANGED, actor, target=what, reason=reason)


def _found(channel: Channel | None, key: str) -> Channel:
    if channel is None:
        raise NotFoundError(f"there is no channel {key[:100]}")
    return channel


def _not_builtin(key: str) -> None:
    if key == BUILTIN:
        raise ConflictError(
            f"{BUILTIN} is the channel of BROWNOUT_ALERT_WEBHOOK: change the setting, or choose another key"
        )
