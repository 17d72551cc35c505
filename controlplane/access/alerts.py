"""Telling people: a line in the log and, when one is set, a webhook that hears of it at least once.

Whoever tells of something hands over the transaction that made it true, and the alert is kept with it. Every replica
delivers what waits; a row's lock says which of them does.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable

import msgspec
import structlog
from prometheus_client import Counter, Gauge

from controlplane.access.queries import deliveries
from controlplane.access.queries.deliveries import Waiting
from controlplane.access.webhook import TIMEOUT_S, Webhook
from controlplane.errors import UnavailableError
from controlplane.kit.apart import Turn
from controlplane.kit.background import beat, words
from controlplane.kit.chance import spread
from controlplane.kit.clock import Clock, SystemClock
from controlplane.kit.database import Database, WriteConnection
from controlplane.kit.tasks import wait_set

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 5.0
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 600.0
GIVE_UP_AFTER_S = 24 * 3600.0
KEPT_DAYS = 7
UNKEPT = 100
"""Alerts that wait in memory for Postgres to come back."""
FORGET_EVERY_S = 3600.0
BATCH = 5_000
"""Deleted in one statement."""

WAITING = Gauge("brownout_alerts_waiting", "Alerts that the webhook's receiver has not taken yet.")
ATTEMPTS = Counter("brownout_alert_deliveries_total", "Attempts to deliver an alert.", ["outcome"])


class Alert(msgspec.Struct, frozen=True):
    """The body of a delivery. `timestamp` is when it happened, in ISO 8601."""

    type: str
    timestamp: str
    data: dict[str, str]


class Alerts:
    """`notify` keeps an alert; `run` delivers until cancelled. Without a webhook there is nothing but the log."""

    def __init__(
        self,
        database: Database,
        webhook: Webhook | None,
        chance: Callable[[], float] = spread.random,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._unkept: deque[tuple[str, str, str]] = deque(maxlen=UNKEPT)
        """(id, event, body) of what neither Postgres nor the receiver has taken."""
        self._sending: set[asyncio.Task[None]] = set()
        self._database = database
        self._webhook = webhook
        self._chance = chance
        self._woken = asyncio.Event()
        self._failing = False

    async def notify(self, event: str, fields: dict[str, str], connection: WriteConnection | None = None) -> None:
        """Never holds anything up. Within `connection`'s transaction it raises what any statement there raises; alone
        it raises nothing: what Postgres cannot keep, perhaps because that is the news, is sent at once, and kept later
        when it was not taken."""
        log.warning(event, **fields)
        if self._webhook is None:
            return
        body = msgspec.json.encode(Alert(event, self._clock.now().isoformat(), fields)).decode()
        message_id = f"msg_{secrets.token_hex(12)}"
        if connection is not None:
            await deliveries.put(connection, message_id, event, body)
        else:
            try:
                async with self._database.writing() as own:
                    await deliveries.put(own, message_id, event, body)
            except Exception as error:  # noqa: BLE001 - what is told must not fail because it is told
                log.error("alert_not_kept", alert=event, error=words(error))
                task = asyncio.create_task(self._send_unkept(message_id, event, body))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)
        self._woken.set()

    async def _send_unkept(self, message_id: str, event: str, body: str) -> None:
        assert self._webhook is not None
        sent = await self._webhook.post(message_id, int(self._clock.now().timestamp()), body.encode())
        if sent.error:
            self._unkept.append((message_id, event, body))

    async def _keep_unkept(self) -> str:
        """Returns which could not be kept, and why; empty when all were. Those are gone: the log has them."""
        turn = Turn("alerts")
        while self._unkept:
            with turn.item(self._unkept[0][1]):
                async with self._database.writing() as connection:
                    await deliveries.put(connection, *self._unkept[0])
            self._unkept.popleft()
        return turn.trouble

    async def run(self) -> None:
        """Delivers what waits, oldest first within each kind."""
        if self._webhook is None:
            return
        loop = asyncio.get_running_loop()
        forget_at = loop.time()
        while True:
            self._woken.clear()
            try:
                trouble = await self._keep_unkept()
                beat("alerts", TIMEOUT_S)
                while await self.deliver_one():
                    beat("alerts", TIMEOUT_S)
                await self._count()
                if loop.time() >= forget_at:
                    async with self._database.writing() as connection:
                        while await deliveries.forget(connection, KEPT_DAYS, BATCH) == BATCH:
                            beat("alerts", TIMEOUT_S)
                    forget_at = loop.time() + FORGET_EVERY_S
            except UnavailableError as error:
                log.warning("alerts_not_delivered", error=error.message)
                trouble = words(error)
            if self._failing:
                trouble = trouble or "the receiver of the webhook takes nothing"
            beat("alerts", LOOK_EVERY_S, trouble)
            await wait_set(self._woken, LOOK_EVERY_S)

    async def deliver_one(self) -> bool:
        """Takes one alert that is due and tries once. Returns whether there was one.

        Raises:
            UnavailableError: Postgres does not answer. What was sent meanwhile is sent again, under the same id.
        """
        assert self._webhook is not None
        async with self._database.transaction() as connection:
            one = await deliveries.claim(connection)
            if one is None:
                return False
            sent = await self._webhook.post(one.message_id, int(one.now_s), one.body.encode())
            if not sent.error:
                await deliveries.end(connection, one.id, "delivered")
            elif one.now_s - one.created_s > GIVE_UP_AFTER_S:
                await deliveries.end(connection, one.id, "given_up")
            else:
                await deliveries.postpone(connection, one.id, max(sent.retry_after_s, self._pause_s(one.attempts)))
        self._say(one, sent.error)
        return True

    def _say(self, one: Waiting, error: str) -> None:
        given_up = bool(error) and one.now_s - one.created_s > GIVE_UP_AFTER_S
        ATTEMPTS.labels("given_up" if given_up else "failed" if error else "delivered").inc()
        if given_up:
            log.error("alert_given_up", alert=one.kind, attempts=one.attempts + 1, error=error)
        if error and not self._failing:
            log.error("alert_webhook_failing", alert=one.kind, error=error)
        elif not error and self._failing:
            log.warning("alert_webhook_works_again")
        self._failing = bool(error)

    def _pause_s(self, attempts: int) -> float:
        """Doubling, and spread so that many alerts do not come back together."""
        return float(min(FIRST_WAIT_S * 2 ** min(attempts, 20), LONGEST_WAIT_S) * (0.75 + self._chance() / 2))

    async def _count(self) -> None:
        async with self._database.reading() as connection:
            WAITING.set(await deliveries.waiting(connection))
