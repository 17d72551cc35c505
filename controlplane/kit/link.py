"""The control plane's connection to NATS. It is replaced, never repaired (docs/adr/0030-own-the-connection.md)."""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from brownout import wire
from brownout._sync.nats_client import InsistentClient
from controlplane.kit.apart import set_aside
from controlplane.kit.background import beat
from controlplane.kit.chance import spread
from controlplane.kit.tasks import wait_set

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 1.0
PROBE_TIMEOUT_S = 1.0
MAX_BACKOFF_S = 1.0
BEAT_S = 1.0
PING_INTERVAL_S = 10
PENDING_BYTES = 64 * 1024 * 1024


class LinkDownError(Exception):
    """There is no connection to NATS right now."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A message as our handlers get it. Nothing that its sender chose can become a subject: where it asks to be answered
    is not in here, only whether it does."""

    subject: str
    data: bytes
    signature: str = ""
    asks: bool = False
    _client: Client | None = None

    async def acknowledge(self) -> None:
        """Tells the instance that spoke, and nobody else. Does nothing when the connection it came by is gone."""
        if self._client is not None:
            with contextlib.suppress(NatsError, OSError):
                await self._client.publish(acknowledgement_of(self.subject), b"+")

    async def grant(self, data: bytes) -> None:
        """Tells the instance that asked for leases what it has. Does nothing when the connection it came by is gone."""
        if self._client is not None:
            with contextlib.suppress(NatsError, OSError):
                await self._client.publish(lease_of(self.subject), data)


def lease_of(subject: str) -> str:
    """As `acknowledgement_of`, for leases."""
    _, environment, key, instance, _ = subject.split(".")
    return wire.Subjects(environment).lease(key, instance)


def acknowledgement_of(subject: str) -> str:
    """For the subject that the server let an instance speak on, the one on which that instance hears us."""
    _, environment, key, instance, _ = subject.split(".")
    return wire.Subjects(environment).acknowledgement(key, instance)


Handler = Callable[[Heard], Awaitable[None]]


@dataclass(eq=False)
class Subscription:
    subject: str
    handler: Handler
    queue: str


class Link:
    """Keeps one connection alive while `run()` runs; each attempt is a fresh client on the next server.

    nats-py's own reconnecting is off: it has open bugs that lose subscriptions or end the client for good. What is
    subscribed here is subscribed again on every new connection; messages in between are lost, as in core NATS.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        user: str = "",
        password: str = "",
        name: str = "control-plane",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._servers = itertools.cycle(spread.sample(servers, len(servers)))
        self._user = user
        self._password = password
        self._name = name
        self._tls = tls
        self._client: Client | None = None
        self._lost = asyncio.Event()
        """Of the present client: a dismissed one closes later and must not end its successor."""
        self._probing = asyncio.Lock()
        self._subscriptions: list[Subscription] = []
        self._goodbyes: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        return self._client is not None

    async def probe(self) -> dict[str, str]:
        return {"nats": "" if self.connected else "there is no connection to NATS: changes wait in Postgres"}

    @property
    def client(self) -> Client:
        """Raises LinkDownError when there is none."""
        if self._client is None:
            raise LinkDownError("not connected to NATS")
        return self._client

    async def subscribe(self, subject: str, handler: Handler, *, queue: str = "") -> Subscription:
        """Subscribes now and on every later connection."""
        subscription = Subscription(subject, handler, queue)
        self._subscriptions.append(subscription)
        if self._client is not None:
            with contextlib.suppress(NatsError, OSError):
                await _attach(self._client, subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Not subscribed on later connections; the present one goes on hearing, so handlers check for themselves."""
        self._subscriptions.remove(subscription)

    async def suspect(self, client: Client) -> None:
        """Asks whether `client` still reaches its server, and replaces it when it does not (half-open, hung node)."""
        async with self._probing:
            if client is not self._client:
                return
            try:
                await client.flush(PROBE_TIMEOUT_S)  # type: ignore[arg-type] # annotated int, takes seconds
            except (NatsError, OSError, TimeoutError):
                if client is self._client:
                    self._lost.set()

    async def run(self) -> None:
        backoff_s = 0.05
        try:
            for server in self._servers:
                try:
                    await self._serve(server)
                    backoff_s = 0.05
                except (NatsError, OSError, TimeoutError) as error:
                    log.debug("nats_unreachable", server=_without_password(server), error=str(error))
                    backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
                beat("nats", backoff_s)
                await asyncio.sleep(spread.uniform(0, backoff_s))
        finally:
            await asyncio.gather(*self._goodbyes)

    async def _serve(self, server: str) -> None:
        """Connects, and returns when that connection is gone; raises when there never was one."""
        lost = asyncio.Event()

        async def on_closed() -> None:
            lost.set()

        client = InsistentClient()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S * 3):
                await client.connect(
                    server,
                    name=self._name,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,  # else nats-py waits two seconds inside, while SDKs wait for us
                    reconnect_time_wait=0,
                    connect_timeout=CONNECT_TIMEOUT_S,  # type: ignore[arg-type]
                    ping_interval=PING_INTERVAL_S,
                    pending_size=PENDING_BYTES,
                    error_cb=_ignore,
                    closed_cb=on_closed,
                    user=self._user or None,
                    password=self._password or None,
                    tls=self._tls,
                )
                for subscription in self._subscriptions:
                    await _attach(client, subscription)
            self._client, self._lost = client, lost
            log.info("nats_connected", server=_without_password(server))
            beat("nats", BEAT_S)
            while not await wait_set(lost, BEAT_S):
                beat("nats", BEAT_S)
            log.warning("nats_lost", server=_without_password(server))
        finally:
            self._client = None
            self._dismiss(client)

    def _dismiss(self, client: Client) -> None:
        task = asyncio.create_task(_close(client))
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)


async def _attach(client: Client, subscription: Subscription) -> None:
    async def hand_over(message: Msg) -> None:
        signature = (message.headers or {}).get(wire.SIGNATURE_HEADER, "")
        heard = Heard(message.subject, message.data, signature, bool(message.reply), client)
        try:
            await subscription.handler(heard)
        except Exception as error:  # noqa: BLE001 - told by `set_aside`; the next message is another
            set_aside("nats", subscription.subject, error)

    await client.subscribe(subscription.subject, queue=subscription.queue, cb=hand_over)


async def _close(client: Client) -> None:
    """A half-open connection may never answer: half a second is enough for one that does."""
    with contextlib.suppress(NatsError, OSError, TimeoutError):
        async with asyncio.timeout(0.5):
            await client.close()


async def _ignore(_: Exception) -> None:
    """nats-py reports here what it also raises, or what `closed_cb` follows."""


def _without_password(server: str) -> str:
    return server.rpartition("@")[2]
