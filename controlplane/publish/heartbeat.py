"""Heartbeats: the head, signed, so that an SDK notices a lost last message and a silent connection.

Replicas need no leader for this (docs/adr/0032-heartbeats-without-a-lock.md): each listens to the others and beats only
when it has heard none that is at least as new as what it knows.
"""

import asyncio
from collections.abc import Callable

import msgspec
import structlog
from nats.errors import Error as NatsError

from brownout import wire
from controlplane.configuration.store import SigningKey
from controlplane.errors import NotFoundError, UnavailableError
from controlplane.kit.background import beat
from controlplane.kit.chance import spread
from controlplane.kit.link import Heard, LinkDownError
from controlplane.kit.tasks import wait_set
from controlplane.publish.parts import Position, Shared
from controlplane.publish.trust import Trust

log = structlog.get_logger(__name__)

PATIENCE = 1.2
"""How many intervals a replica leaves to the one that beat last."""


class Heartbeats:
    """`position` answers with what is published, or None when that is not known yet; `fleet` counts live instances."""

    def __init__(
        self,
        environment: str,
        parts: Shared,
        position: Callable[[], Position | None],
        interval_s: float,
        trust: Trust,
        *,
        fleet: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._environment = environment
        self._loop = f"publisher {environment}.heartbeat"
        self._subjects = wire.Subjects(environment)
        self._link = parts.link
        self._keys = parts.keys
        self._clock = parts.clock
        self._position = position
        self._interval_s = interval_s
        self._trust = trust
        self._fleet = fleet
        self._key: SigningKey | None = None
        self._sent = b""
        self._due = 0.0
        self._soon = asyncio.Event()

    def hasten(self) -> None:
        """Beat now: the head is not what SDKs can expect."""
        self._due = 0.0
        self._soon.set()

    async def run(self) -> None:
        subscription = await self._link.subscribe(self._subjects.heartbeat, self._on_heard)
        try:
            while True:
                await self._wait()
                beat(self._loop)
                await self._beat()
        finally:
            self._link.unsubscribe(subscription)

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        while (left_s := self._due - loop.time()) > 0:
            self._soon.clear()
            beat(self._loop, left_s)
            await wait_set(self._soon, left_s)

    async def _beat(self) -> None:
        self._postpone(1)
        position = self._position()
        if position is None:
            return
        key = await self._current_key()
        if key is None:
            return
        now_ms = int(self._clock.now().timestamp() * 1000)
        fleet = self._fleet(self._environment)
        beat = wire.Heartbeat(1, self._environment, position.epoch, position.revision, now_ms, self._interval_s, fleet)
        self._sent = msgspec.json.encode(beat)
        headers = {wire.SIGNATURE_HEADER: key.sign("heartbeat", self._environment, self._sent)}
        try:
            await self._link.client.publish(self._subjects.heartbeat, self._sent, headers=headers)
        except (LinkDownError, NatsError, OSError):
            log.debug("heartbeat_not_sent", environment=self._environment)

    async def _current_key(self) -> SigningKey | None:
        """The last known one while Postgres is away: SDKs are to notice nothing of that."""
        try:
            self._key = await self._keys.current(self._environment)
        except (UnavailableError, NotFoundError):
            log.debug("heartbeat_with_known_key", environment=self._environment)
        return self._key

    async def _on_heard(self, message: Heard) -> None:
        if message.data == self._sent:
            return
        try:
            heard = await self._trust.find("heartbeat", message.data, message.signature, wire.Heartbeat)
        except UnavailableError:
            return
        if heard is not None and Position(heard.ep, heard.rev) >= (self._position() or (0, 0)):
            self._postpone(PATIENCE + spread.random() * (PATIENCE - 1))

    def _postpone(self, intervals: float) -> None:
        self._due = asyncio.get_running_loop().time() + intervals * self._interval_s
