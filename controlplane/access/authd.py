"""`brownout authd`: answers NATS's auth callout. Run two or more; NATS spreads the questions over them.

Three loops that never give up: answer on NATS, follow the key table in Postgres, kick what was revoked. With Postgres
down the table in memory (or its copy on disk) goes on answering; with every authd down live connections stay.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from secrets import token_hex

import asyncpg
import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from brownout._sync.nats_client import InsistentClient
from controlplane.access.callout import CALLOUT_SUBJECT, Callout
from controlplane.access.keytable import KeyEntry, KeyTable
from controlplane.access.keyuse import KeyUses
from controlplane.access.kick import kick_all_but
from controlplane.access.nkeys import InvalidTokenError
from controlplane.kit.apart import Turn, set_aside
from controlplane.kit.background import beat, is_cancelled
from controlplane.kit.clock import Clock, PostgresClock, monotonic
from controlplane.kit.postgres_url import parse
from controlplane.kit.tasks import run_together, wait_set

log = structlog.get_logger(__name__)

CHANNEL = "brownout_sdk_key"
"""NOTIFY on every change to SDK keys, by a trigger."""

_QUEUE = "brownout-authd"
_POLL_S = 0.5
"""How long a lost notification can stay unnoticed."""
_ANSWER_S = 3
_RETRY_S = 0.25
_GOODBYE_S = 0.5
"""After a failed TLS handshake nats-py closes its socket, then waits without end."""

_SWEEPS = 4
"""Sweeps after a revocation: another authd may have let somebody in just before it heard."""

_SWEEP_S = 60.0

_SAY_S = 1.0
"""How often we say that we answer."""

_VERSION = "SELECT version, clock_timestamp() AS now FROM sdk_key_version"
_KEYS = """
WITH place AS (
    SELECT environment, row_number() OVER (ORDER BY min(created_at), environment) - 1 AS place
    FROM sdk_key GROUP BY environment
)
SELECT id, digest, environment, uses, place,
    coalesce((extract(epoch FROM expires_at) * 1000)::bigint, 0) AS expires_at
FROM sdk_key JOIN place USING (environment) WHERE revoked_at IS NULL
"""
_USES = """
INSERT INTO sdk_key_use (key, used_at)
SELECT u.key, to_timestamp(u.ms / 1000.0) FROM unnest($1::text[], $2::bigint[]) AS u(key, ms) JOIN sdk_key ON id = u.key
ON CONFLICT (key) DO UPDATE SET used_at = greatest(sdk_key_use.used_at, excluded.used_at)
"""


_SAY = """
INSERT INTO authd (id, seen_at, responding) VALUES ($1, clock_timestamp(), $2)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, responding = excluded.responding
"""
_FORGET = "DELETE FROM authd WHERE seen_at < clock_timestamp() - interval '1 hour'"


class AuthdOptions(msgspec.Struct, frozen=True):
    """Where everything is. The URLs carry their credentials."""

    auth_url: str
    system_url: str
    database_url: str
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return "AuthdOptions(…)"


class Authd:
    """One responder. `ready` is set once it has a table and listens; `run` ends only by cancellation."""

    def __init__(self, options: AuthdOptions, callout: Callout, table: KeyTable, uses: KeyUses, clock: Clock) -> None:
        self._options = options
        self._database = parse(options.database_url)
        self._callout = callout
        self._table = table
        self._uses = uses
        self._clock = clock
        self._loaded = asyncio.Event()
        self._sweep_due = asyncio.Event()
        self.ready = asyncio.Event()
        self.answered = 0
        self._id = token_hex(8)
        self._listening = 0
        """On so many servers."""
        self._trouble = ""
        """Which key could not be read, and why."""

    async def run(self) -> None:
        if self._table.load_copy():
            log.info("starting from the copy on disk", keys=len(self._table))
            self._loaded.set()
        # A question goes to both queue groups and the first answer counts: a server which hangs is in one of them and
        # cannot swallow its neighbours' questions. Never three, see docs/adr/0034.
        servers = enumerate(sorted(self._options.auth_url.split(",")))
        await run_together(
            _forever("database", self._follow),
            *(_forever("nats", partial(self._respond, server, f"{_QUEUE}-{place % 2}")) for place, server in servers),
            _forever("revocation", self._revoke),
        )

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    async def _respond(self, server: str, queue: str) -> None:
        await self._loaded.wait()
        async with _connected(server, self._options.tls) as (client, lost):
            await client.subscribe(CALLOUT_SUBJECT, queue=queue, cb=self._answer)
            await client.flush()
            await client.flush()  # nats-py's first ping overtakes a subscription that waits to be sent
            self.ready.set()
            self._listening += 1
            try:
                await lost.wait()
            finally:
                self._listening -= 1

    async def _answer(self, message: Msg) -> None:
        try:
            await message.respond(self._callout.answer(message.data, self._now_ms()))
        except InvalidTokenError:
            log.warning("ignored a request that no NATS server signed")
        except Exception as error:  # noqa: BLE001 - told by `set_aside`; the server asks another authd, and the client again
            set_aside("authd", "request", error)
        self.answered += 1

    async def _follow(self) -> None:
        """Keeps the table like the database: woken by NOTIFY, and by a poll that also proves the connection alive."""
        beat("authd.keys")
        connection = await asyncpg.connect(**self._database.arguments(_ANSWER_S), command_timeout=_ANSWER_S)
        try:
            changed = asyncio.Event()
            await connection.add_listener(CHANNEL, lambda *_: changed.set())
            say_at = 0.0
            while True:
                changed.clear()
                beat("authd.keys")
                await self._reload(connection)
                await self._tell_uses(connection)
                if (now := asyncio.get_running_loop().time()) >= say_at:
                    await self._say(connection, first=say_at == 0.0)
                    say_at = now + _SAY_S
                beat("authd.keys", _POLL_S, self._trouble)
                await wait_set(changed, _POLL_S)
        finally:
            connection.terminate()

    async def _reload(self, connection: asyncpg.Connection) -> None:
        asked = monotonic()
        row = await connection.fetchrow(_VERSION)
        assert row is not None
        if isinstance(self._clock, PostgresClock):
            self._clock.sample(asked, row["now"], monotonic())
        version: int = row["version"]
        if version != self._table.version:
            rows = await connection.fetch(_KEYS)
            turn, entries = Turn("authd"), []
            for key in rows:
                with turn.item(str(key["id"])):  # it opens nothing; the other keys do
                    entries.append(msgspec.convert(dict(key), KeyEntry))
            self._trouble = turn.trouble
            await asyncio.to_thread(self._table.replace, version, entries)
            self._loaded.set()
            self._sweep_due.set()

    async def _say(self, connection: asyncpg.Connection, *, first: bool) -> None:
        """That we answer, or cannot: the check `authd` fails when nobody says so any more."""
        try:
            await connection.execute(_SAY, self._id, self._listening > 0)
            if first:
                await connection.execute(_FORGET)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError) as error:
            log.warning("cannot say that we answer", error=type(error).__name__)

    async def _tell_uses(self, connection: asyncpg.Connection) -> None:
        """Connecting never waits for this: what cannot be told now is told later."""
        uses = self._uses.due(self._now_ms())
        if not uses:
            return
        try:
            await connection.execute(_USES, list(uses), list(uses.values()))
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError) as error:
            log.warning("cannot say when keys were used", error=type(error).__name__)  # and need not, to let SDKs in
        self._uses.told(uses)

    async def _revoke(self) -> None:
        """Kicks whoever holds a key that ended: at start, after each change, when a key expires, and once a minute;
        then it also notes which keys hold connections: somebody who connected long ago uses theirs still."""
        async with _connected(self._options.system_url, self._options.tls) as (client, lost):
            while not lost.is_set():
                sweeps = _SWEEPS if await wait_set(self._sweep_due, self._until_sweep()) else 1
                self._sweep_due.clear()
                if self._table.version < 0:
                    continue  # the copy on disk may miss a new key: it kicks nobody
                for _ in range(sweeps):
                    swept = await kick_all_but(client, self._table.live_ids(self._now_ms()))
                    self._uses.note(swept.holding, self._now_ms())
                    if swept.kicked:
                        log.info("ended connections whose key no longer holds", connections=swept.kicked)

    def _until_sweep(self) -> float:
        now = self._now_ms()
        expiry = self._table.next_expiry(now)
        return _SWEEP_S if expiry is None else min((expiry - now) / 1000 + 0.001, _SWEEP_S)


@contextlib.asynccontextmanager
async def _connected(url: str, tls: ssl.SSLContext | None) -> AsyncIterator[tuple[Client, asyncio.Event]]:
    """A fresh client each time, and an event for its loss: nats-py's own reconnecting has open bugs."""
    lost = asyncio.Event()

    async def on_lost() -> None:
        lost.set()

    async def on_error(error: Exception) -> None:
        log.debug("nats", error=str(error))

    client = InsistentClient()
    try:
        await client.connect(
            url.split(","), tls=tls, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, connect_timeout=2, ping_interval=5, max_outstanding_pings=2,
            pending_size=16 * 2**20, disconnected_cb=on_lost, closed_cb=on_lost, error_cb=on_error, name="authd",
        )  # fmt: skip
        yield client, lost
    finally:  # also when refused: nats-py would leave its socket open
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await client.close()


async def _forever(what: str, step: Callable[[], Awaitable[None]]) -> None:
    """Runs `step` again whenever it ends; says so once per outage."""
    quiet = False
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await step()
            error = ""
        except (TimeoutError, OSError, NatsError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            error = type(problem).__name__
        except Exception as problem:  # noqa: BLE001 - told by `set_aside`; the other parts go on
            set_aside("authd", what, problem)
            error = type(problem).__name__
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            error = "CancelledError"  # of something it waited for, which nats-py cancelled
        if not quiet or asyncio.get_running_loop().time() - started > 10:
            log.warning("lost a connection; trying again", part=what, error=error)
        quiet = True
        await asyncio.sleep(_RETRY_S)
