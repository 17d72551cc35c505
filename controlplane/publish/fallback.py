"""While JetStream has no leader: the same signed bytes over core NATS, at once and then again and again.

Postgres has the truth already, and an SDK applies a revision once whichever way it came.
"""

import asyncio
import math
from collections.abc import Callable, Sequence

import structlog
from nats.errors import Error as NatsError

from brownout.wire import SIGNATURE_HEADER, Subjects
from controlplane.configuration.store import Store, StoredEnvelope
from controlplane.errors import NotFoundError, UnavailableError
from controlplane.kit.background import beat
from controlplane.kit.link import Link, LinkDownError
from controlplane.kit.tasks import wait_set
from controlplane.publish.parts import Position

log = structlog.get_logger(__name__)

REBROADCAST_S = 0.5
"""For SDKs that were reconnecting when a revision went out."""
PAGE = 256
LONG_S = 30.0
"""A long tail takes a while to send."""
UNKNOWN_TAIL = 100
"""How far back to begin when nobody knows where the log ends."""
PACE_PER_S = 2_000
"""A long tail is sent again no faster than this."""


class Fallback:
    """Works between `start` and `stop`; `sent` is the furthest that went out this way."""

    def __init__(self, environment: str, link: Link, store: Store, on_sent: Callable[[StoredEnvelope], None]) -> None:
        self._environment = environment
        self._loop = f"publisher {environment}.fallback"
        self._subject = Subjects(environment).log
        self._link = link
        self._store = store
        self._on_sent = on_sent
        self._active = asyncio.Event()
        self._more = asyncio.Event()
        self._logged: int | None = None
        self.sent = Position(0, 0)

    @property
    def active(self) -> bool:
        return self._active.is_set()

    def start(self, logged: int | None) -> None:
        """`logged`: the last revision that the log is known to have; None when that is not known."""
        if not self.active:
            log.warning("fallback_started", environment=self._environment, logged=logged)
            self._logged = logged
        self._active.set()

    def stop(self) -> None:
        if self.active:
            log.info("fallback_ended", environment=self._environment)
        self._active.clear()

    def wake(self) -> None:
        self._more.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        rebroadcast_at = 0.0
        while True:
            beat(self._loop, math.inf)
            await self._active.wait()
            beat(self._loop, LONG_S)
            self._more.clear()
            again = loop.time() >= rebroadcast_at
            try:
                client = self._link.client
                if again:
                    await self._link.suspect(client)
                logged = await self._last_logged()
                count = await self._broadcast(logged if again else max(self.sent.revision, logged))
                if again:
                    rebroadcast_at = loop.time() + max(REBROADCAST_S, count / PACE_PER_S)
            except (LinkDownError, NatsError, OSError, UnavailableError, NotFoundError) as error:
                log.debug("fallback_failed", environment=self._environment, error=str(error))
            await wait_set(self._more, REBROADCAST_S / 2)

    async def _last_logged(self) -> int:
        if self._logged is None:
            head = await self._store.head(self._environment)
            self._logged = max(0, head.revision - UNKNOWN_TAIL)
        return self._logged

    async def _broadcast(self, after: int) -> int:
        """Sends what follows `after`, up to a revision that only a snapshot can bring; returns how many."""
        count = 0
        while page := await self._store.envelopes(self._environment, after, PAGE):
            sendable = until_reset(page)
            for envelope in sendable:
                headers = {SIGNATURE_HEADER: envelope.signature}
                await self._link.client.publish(self._subject, envelope.payload, headers=headers)
                if (position := Position(envelope.epoch, envelope.revision)) > self.sent:
                    self.sent = position
                    self._on_sent(envelope)
            count += len(sendable)
            if len(sendable) < PAGE:
                break
            after = sendable[-1].revision
        return count


def until_reset(envelopes: Sequence[StoredEnvelope]) -> Sequence[StoredEnvelope]:
    """Those before the first that only a snapshot can bring."""
    for index, envelope in enumerate(envelopes):
        if envelope.reset:
            return envelopes[:index]
    return envelopes
