"""What the dispatcher does now and then: late pages go on, channels are tested every week, what is old is deleted."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import structlog
from msgspec.structs import replace
from prometheus_client import Gauge

from controlplane.kit.apart import Turn
from controlplane.kit.background import beat
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.notify.events import NewEvent, new_event
from controlplane.notify.kinds import Severity
from controlplane.notify.queries import channels, outbox, routes
from controlplane.notify.values import BUILTIN, EVENTS_KEPT, FAILOVER_AFTER, KEPT, TEST_EVERY, Subscription

log = structlog.get_logger(__name__)

NAME = "notifications"
STEP_S = 30.0
FORGET_EVERY = timedelta(hours=1)
BATCH = 1_000

WAITING = Gauge("brownout_alerts_waiting", "Deliveries that their channel has not taken yet.")


class Known:
    """What was last read of channels and subscriptions: the way to tell people while Postgres is away."""

    def __init__(self) -> None:
        self.channels: dict[str, tuple[str, bytes | None]] = {}
        self.subscriptions: Sequence[Subscription] = ()

    def first_channels(self, event: NewEvent) -> list[str]:
        found: dict[str, None] = {}
        for each in self.subscriptions:
            wanted = each.severity <= event.severity and set(each.kinds) & set(event.names)
            if wanted and {"*", event.environment} & set(each.environments):
                chain = [key for key in each.channels if key in self.channels]
                found.update(dict.fromkeys(chain[:1]))
        return list(found)


class House:
    """Every replica keeps it; locks let one of them do each thing."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._forgot_at: datetime | None = None
        self.known = Known()

    async def keep(self) -> str:
        """Returns what went wrong; empty when all went well. Raises UnavailableError: Postgres does not answer."""
        turn, now = Turn(NAME), self._clock.now()
        with turn.item("late pages"):
            await self._pass_on(now)
        with turn.item("tests"):
            await self._test(now)
        with turn.item("channels"):
            await self._learn()
        with turn.item("earlier alerts"):
            await self._adopt()
        if self._forgot_at is None or now - self._forgot_at >= FORGET_EVERY:
            self._forgot_at = now
            with turn.item("old events"):
                await self._forget(now)
        return turn.trouble

    async def _pass_on(self, now: datetime) -> None:
        async with self._database.transaction() as connection:
            passed = []
            for each in await outbox.late_pages(connection, Severity.PAGE, now - FAILOVER_AFTER, BATCH):
                if await outbox.pass_on(connection, each.id, now):
                    await outbox.end(
                        connection, each.id, "failed", now, "not taken in time: it went to the next channel"
                    )
                    passed.append(each.channel)
        for channel in passed:
            log.error("page_passed_on", channel=channel)

    async def _test(self, now: datetime) -> None:
        async with self._database.transaction() as connection:
            for each in await channels.due_tests(connection, now, now + TEST_EVERY):
                fields = {"channel": each.key, "why": "This is the weekly test."}
                await outbox.put_to(connection, new_event("channel_test", fields), now, [each.key])

    async def _learn(self) -> None:
        known = Known()
        async with self._database.reading() as connection:
            known.channels = {each.key: (each.kind, each.sealed) for each in await channels.every_secret(connection)}
            known.subscriptions = await routes.list_subscriptions(connection)
            WAITING.set(await outbox.waiting(connection))
        self.known = known

    async def _adopt(self) -> None:
        """What a replica of an earlier version could not deliver goes to the channel of the settings, if there is one."""
        if BUILTIN not in self.known.channels:
            return
        while True:
            async with self._database.transaction() as connection:
                found = await outbox.take_old_alerts(connection, BATCH)
                for each in found:
                    event = replace(new_event(each.kind, _data_of(each.body)), message_id=each.message_id)
                    await outbox.put_to(connection, event, self._clock.now(), [BUILTIN])
            if len(found) < BATCH:
                return

    async def _forget(self, now: datetime) -> None:
        async with self._database.writing() as connection:
            await outbox.drop_expired(connection, now, KEPT, BATCH)
            while await outbox.forget(connection, now - EVENTS_KEPT, BATCH) == BATCH:
                beat(NAME, STEP_S)
            while await outbox.forget_old_alerts(connection, BATCH) == BATCH:
                beat(NAME, STEP_S)


def _data_of(body: str) -> dict[str, str]:
    """The fields of a webhook's body."""
    try:
        data = msgspec.json.decode(body).get("data", {})
    except (msgspec.DecodeError, AttributeError):
        return {}
    return {str(name): str(value) for name, value in data.items()} if isinstance(data, dict) else {}
