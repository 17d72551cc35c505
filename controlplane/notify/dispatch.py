"""Delivering: every replica takes what is due, one at a time for each channel; a row's lock says whose it is (ADR 0210)."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from controlplane.errors import UnavailableError
from controlplane.kit.apart import set_aside
from controlplane.kit.background import beat, words
from controlplane.kit.chance import spread
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, WriteConnection
from controlplane.kit.secret_box import SecretBox
from controlplane.kit.tasks import end, wait_set
from controlplane.notify.acks import AckLinks
from controlplane.notify.compose import compose
from controlplane.notify.events import NewEvent, new_event
from controlplane.notify.house import House
from controlplane.notify.kinds import Severity
from controlplane.notify.queries import channels, outbox, routes
from controlplane.notify.queries.outbox import Due
from controlplane.notify.senders.message import Message, Sender, Sent
from controlplane.notify.values import BUILTIN, FAILOVER_AFTER, GIVE_UP_AFTER
from controlplane.notify.writer import EventWriter

log = structlog.get_logger(__name__)

NAME = "notifications"
LOOK_EVERY_S = 1.0
SETTLE_S = 0.05
"""For the transaction that woke us to end."""
HOUSE_EVERY_S = 5.0
WORKERS = 6
"""The most deliveries in hand at once in one replica; each holds a connection to Postgres meanwhile."""
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 600.0
FAILING = 3
"""After so many different deliveries in a row, a channel is said to fail."""
CROWDED = 5
"""After so many, it is tried with one delivery at a time."""
QUIET_PATIENCE = timedelta(hours=1)
"""For how long one delivery that is no page may fail while nothing else is tried, until the channel is said to fail."""
STEP_S = 30.0
"""The longest that one delivery takes."""
FRESH = timedelta(seconds=60)

ATTEMPTS = Counter("brownout_alert_deliveries_total", "Attempts to deliver an event.", ["outcome"])


class Dispatcher:
    """`run` delivers until cancelled; `deliver_one` is one step of it."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        senders: Mapping[str, Sender],
        box: SecretBox,
        links: AckLinks,
        *,
        url: str,
        builtin: bytes | None = None,
        workers: int = WORKERS,
        chance: Callable[[], float] = spread.random,
    ) -> None:
        """`builtin`: where the channel of the settings leads, and what it signs with. `workers`: at most WORKERS."""
        self._most_workers = max(1, min(workers, WORKERS))
        self._database = database
        self._clock = clock
        self._senders = senders
        self._box = box
        self._links = links
        self._url = url
        self._builtin = builtin
        self._chance = chance
        self._busy: set[str] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._trouble = ""
        self.house = House(database, clock)
        self.writer = EventWriter(database, clock, self.send_now)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        house_at = 0.0
        try:
            while True:
                self.writer.woken.clear()
                trouble = ""
                try:
                    beat(NAME, STEP_S)
                    trouble = await self.writer.keep_unkept()
                    if loop.time() >= house_at:
                        house_at = loop.time() + HOUSE_EVERY_S
                        trouble = await self.house.keep() or trouble
                except UnavailableError as error:
                    log.warning("notifications_wait", error=error.message)
                    trouble = words(error)
                self._more()
                beat(NAME, LOOK_EVERY_S, trouble or self._trouble)
                await wait_set(self.writer.woken, LOOK_EVERY_S)
                await asyncio.sleep(SETTLE_S)
        finally:
            await end(*self._workers)

    def _more(self) -> None:
        """One more worker, unless there are enough; it ends when nothing is left that it could take."""
        if len(self._workers) < self._most_workers:
            task = asyncio.create_task(self._work())
            self._workers.add(task)
            task.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        try:
            while await self.deliver_one(self._more):
                pass
        except UnavailableError as error:
            self._trouble = words(error)
        except Exception as error:  # noqa: BLE001 - a worker that dies takes nothing along: its row is free again
            set_aside(NAME, "a delivery", error)
            self._trouble = words(error)
        else:
            self._trouble = ""

    async def deliver_one(self, taken: Callable[[], None] = lambda: None) -> bool:
        """Takes one delivery that is due and tries once. Returns whether there was one. `taken` is called before it is
        sent, which may take long.

        Raises:
            UnavailableError: Postgres does not answer. What was sent meanwhile is sent again, under the same id.
        """
        channel = ""
        try:
            async with self._database.transaction() as connection:
                due = await outbox.claim(
                    connection, self._clock.now(), kinds=sorted(self._senders), skip=self._not_ours()
                )
                if due is None:
                    return False
                if due.channel in self._busy:  # another worker took one for it while we asked
                    return True
                channel = due.channel
                self._busy.add(channel)
                taken()
                sent = await self._send(due)
                await self._settle(connection, due, sent)
        finally:
            if channel:
                self._busy.discard(channel)
        return True

    def _not_ours(self) -> list[str]:
        """Channels that another worker has in hand, or only a replica with other settings can send to."""
        return sorted(self._busy | ({BUILTIN} if self._builtin is None else set()))

    async def _send(self, due: Due) -> Sent:
        """Never raises: what one delivery makes of our code costs the others nothing."""
        now = self._clock.now()
        try:
            message = compose(
                due.kind, message_id=due.message_id, environment=due.environment, severity=due.severity,
                dedupe=due.dedupe, data=routes.read_data(due.data), at=due.event_at, now=now, channel=due.channel,
                links=self._links, url=self._url, acknowledged=due.acknowledged,
            )  # fmt: skip
            return await self._by(due.channel, due.channel_kind, due.sealed, message)
        except Exception as error:  # noqa: BLE001 - as above
            set_aside(NAME, f"{due.channel} {due.message_id}", error)
            return Sent(words(error)[:200], fault="later")

    async def _by(self, key: str, kind: str, sealed: bytes | None, message: Message) -> Sent:
        sender = self._senders.get(kind)
        if sender is None:
            return Sent(f"this version cannot send to {kind[:40]}", fault="later")
        if key == BUILTIN:
            if self._builtin is None:
                return Sent("BROWNOUT_ALERT_WEBHOOK is not set", fault="channel")
            config = self._builtin
        else:
            config = self._box.open(sealed, key) if sealed is not None else b"{}"
        return await sender.send(config, message)

    async def _settle(self, connection: WriteConnection, due: Due, sent: Sent) -> None:
        now = self._clock.now()
        if not sent.error:
            await outbox.end(connection, due.id, "delivered", now)
            ATTEMPTS.labels("delivered").inc()
            await self._worked(connection, due, now)
            return
        if await outbox.acknowledged_since(connection, due.event, due.created_at):  # perhaps while it was being sent
            await outbox.end(connection, due.id, "skipped", now, "acknowledged")
            ATTEMPTS.labels("given_up").inc()
            await self._failed(connection, due, sent, now)
            return
        page, refused = due.severity >= Severity.PAGE, sent.fault == "message"
        expired = now - due.created_at > GIVE_UP_AFTER
        passes = refused or expired or (page and sent.fault == "channel")
        passed = passes and await outbox.pass_on(connection, due.id, now) > 0
        over = passed or expired or (refused and not page)
        if over:
            await outbox.end(connection, due.id, "failed", now, sent.error)
            log.error(
                "delivery_failed", channel=due.channel, kind=due.kind, attempts=due.attempts + 1, error=sent.error
            )
        else:
            wait_s = max(sent.retry_after_s, self._pause_s(due.attempts))
            await outbox.postpone(connection, due.id, now + timedelta(seconds=wait_s), sent.error)
        ATTEMPTS.labels("given_up" if over else "failed").inc()
        await self._failed(connection, due, sent, now)

    async def _worked(self, connection: WriteConnection, due: Due, now: datetime) -> None:
        found = await channels.worked(connection, due.channel, now, now - FRESH)
        if found is None:
            return
        if found.failures >= CROWDED:
            await channels.hurry(connection, due.channel, now)
        if found.was_announced:
            log.warning("channel_works_again", channel=due.channel)
            await outbox.put(connection, new_event("channel_works_again", {"channel": due.channel}), now)

    async def _failed(self, connection: WriteConnection, due: Due, sent: Sent, now: datetime) -> None:
        """A channel that fails is announced on the others, by one replica, once. A receiver may refuse one message for
        what is in it; three in a row, or a test, it refuses because of the channel."""
        crowded = await channels.failures(connection, due.channel) + 1 >= CROWDED
        pause_s = max(sent.retry_after_s, self._pause_s(due.attempts) if crowded else 0.0)
        health = await channels.failed(
            connection, due.channel, due.id, error=sent.error, now=now,
            retry_at=now + timedelta(seconds=pause_s) if pause_s else None,
        )  # fmt: skip
        patience = FAILOVER_AFTER if due.severity >= Severity.PAGE else QUIET_PATIENCE
        lasting = health.failing_since is not None and now - health.failing_since >= patience
        useless = sent.fault == "channel" or (sent.fault == "message" and due.kind == "channel_test")
        if not (useless or health.failures >= FAILING or lasting):
            return
        if await channels.announce(connection, due.channel, now):
            log.error("channel_failing", channel=due.channel, error=sent.error)
            event = new_event("channel_failing", {"channel": due.channel, "reason": sent.error})
            if not await outbox.put(connection, event, now, without=[due.channel]):
                await self._announce_anywhere(connection, due.channel, sent.error, now)

    @staticmethod
    async def _announce_anywhere(connection: WriteConnection, channel: str, error: str, now: datetime) -> None:
        """No one subscribes to it elsewhere: the channel that is likeliest to work hears of it."""
        others = await channels.others(connection, channel)
        event = new_event("channel_failing", {"channel": channel, "reason": error})
        await outbox.put_to(connection, event, now, others[:1])

    def _pause_s(self, attempts: int) -> float:
        """Doubling, and spread so that many deliveries do not come back together."""
        return float(min(FIRST_WAIT_S * 2 ** min(attempts, 20), LONGEST_WAIT_S) * (0.75 + self._chance() / 2))

    async def send_now(self, event: NewEvent) -> list[str]:
        """Tells the first channel of each subscription without Postgres; returns those that took it."""
        now, taken = self._clock.now(), []
        for key in self.house.known.first_channels(event):
            kind, sealed = self.house.known.channels[key]
            message = compose(
                event.kind, message_id=event.message_id, environment=event.environment, severity=event.severity,
                dedupe=event.dedupe, data=event.data, at=now, now=now, channel=key, links=self._links, url=self._url,
            )  # fmt: skip
            with suppress(Exception):
                if not (await self._by(key, kind, sealed, message)).error:
                    taken.append(key)
        return taken
