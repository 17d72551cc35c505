"""Connections to Postgres: one pool that may write, one that the server itself holds to reading.

Domain-free: every capability's own queries run on what this gives out.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy import TextClause, event, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from controlplane.errors import InvalidInputError, UnavailableError
from controlplane.kit.clock import Monotonic
from controlplane.kit.postgres_url import parse

STATEMENT_TIMEOUT_MS = 15_000
LOCK_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 5

POINTED = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
"""For the writing pool, whose statements look rows up by key: planned once and by index, however the values are
distributed. Planning a commit anew cost more than running it, and one cohort named by every flag made it scan them."""

UNAVAILABLE_STATES = frozenset({"55P03", "57014", "25P03", "57P01", "57P02", "57P03"})
"""Lock, statement or idle timeout, or the server going away or coming up."""
TAKES_NO_WRITES = "25006"
"""From a connection that writes: the server is a standby, or was set so. From one that only reads it is a fault of ours."""
DISK_FULL = "53100"
NO_TEXT_STATES = frozenset({"22021", "22P05"})
"""Postgres's text and jsonb hold no NUL; everything else that a caller can send, they do."""
CONNECTION_LOST = (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError)
"""What `fetch` raises when nobody can know whether the statement was done."""
CONNECTION_EXCEPTION, INSUFFICIENT_RESOURCES = "08", "53"
"""Classes of states; of the second are no connection, memory or disk space left."""
UNAVAILABLE = "the database does not answer; try again"
NO_SPACE = "the database has no disk space left"


class Prepared:
    """A statement whose every parameter is typed, compiled once for the driver."""

    def __init__(self, statement: TextClause) -> None:
        compiled = statement.compile(dialect=asyncpg_dialect())  # type: ignore[no-untyped-call]
        self.sql = str(compiled)
        self._names = compiled.positiontup or []

    def arguments(self, parameters: Mapping[str, Any]) -> list[Any]:
        """In the order of the placeholders."""
        return [parameters[name] for name in self._names]


class ReadConnection:
    """What a query function asks for when it only reads."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.execute = connection.execute
        self.sql = connection

    async def fetch(self, statement: Prepared, parameters: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Straight to the driver, at half the cost of `execute`: for the statements that every commit runs.

        In a `transaction` some statement must have gone through `execute` before: that is what begins it.
        """
        driver = (await self.sql.get_raw_connection()).driver_connection
        rows: Sequence[Mapping[str, Any]] = await driver.fetch(statement.sql, *statement.arguments(parameters))  # type: ignore[union-attr]
        return rows


class WriteConnection(ReadConnection):
    """What a query function asks for when it writes; good for reading too."""

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """What runs in the block is written all or not at all: a transaction of its own on a connection from `writing`,
        a savepoint in a `transaction`."""
        driver = (await self.sql.get_raw_connection()).driver_connection
        assert isinstance(driver, asyncpg.Connection)
        outside = not driver.is_in_transaction()
        try:
            async with driver.transaction():
                yield
        finally:
            if outside and not driver.is_closed() and driver.is_in_transaction():
                driver.terminate()  # cancelled while rolling back: the pool must not hand it out like that


class Database:
    """`reading` and `writing` give a connection whose every statement is its own transaction; `snapshot` and
    `transaction` give one that spans several. All raise UnavailableError when Postgres does not answer."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        lock_timeout_ms: int = LOCK_TIMEOUT_MS,
        statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
    ) -> None:
        self.url = url
        patience = {"statement_timeout": str(statement_timeout_ms)}
        self.engine = _engine(url, pool_size, {**POINTED, **patience, "lock_timeout": str(lock_timeout_ms)})
        self._reader = _engine(url, pool_size, {**patience, "default_transaction_read_only": "on"})
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._read_autocommit = self._reader.execution_options(isolation_level="AUTOCOMMIT")
        self._read_snapshot = self._reader.execution_options(isolation_level="REPEATABLE READ")

    async def close(self) -> None:
        await self.engine.dispose()
        await self._reader.dispose()

    async def answers(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s), self.reading() as connection:
                await connection.execute(text("SELECT 1"))
        except (UnavailableError, TimeoutError):
            return False
        return True

    async def clock(self, monotonic: Monotonic) -> tuple[float, datetime, float]:
        """Postgres's time, between our monotonic time just before and just after it was read."""
        async with self.reading() as connection:
            asked = monotonic()
            instant: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
            return asked, instant, monotonic()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[ReadConnection]:
        async with _available(), self._read_autocommit.connect() as connection:
            yield ReadConnection(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[ReadConnection]:
        """Every statement sees the database as it was at the first."""
        async with _available(), self._read_snapshot.begin() as connection:
            yield ReadConnection(connection)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[WriteConnection]:
        async with _available(writes=True), self._autocommit.connect() as connection:
            yield WriteConnection(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[WriteConnection]:
        """Commits when the block ends, rolls back when it raises."""
        async with _available(writes=True), self.engine.begin() as connection:
            yield WriteConnection(connection)


@asynccontextmanager
async def _available(*, writes: bool = False) -> AsyncIterator[None]:
    try:
        yield
    except (DBAPIError, asyncpg.PostgresError) as error:
        if _state(error) in NO_TEXT_STATES:
            raise InvalidInputError("text holds a NUL character") from error
        if not (_unavailable(error) or (writes and _state(error) == TAKES_NO_WRITES)):
            raise
        raise UnavailableError(NO_SPACE if _state(error) == DISK_FULL else UNAVAILABLE) from error
    except (OSError, TimeoutError, PoolTimeoutError, asyncpg.InterfaceError) as error:
        raise UnavailableError(UNAVAILABLE) from error


def _unavailable(error: DBAPIError | asyncpg.PostgresError) -> bool:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = _state(error)
    return state in UNAVAILABLE_STATES or state.startswith((CONNECTION_EXCEPTION, INSUFFICIENT_RESOURCES))


def _state(error: DBAPIError | asyncpg.PostgresError) -> str:
    return getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None) or ""


def _engine(url: str, pool_size: int, settings: dict[str, str]) -> AsyncEngine:
    address = parse(url)
    engine = create_async_engine(
        address.url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=CONNECT_TIMEOUT_S,
        connect_args=address.options(CONNECT_TIMEOUT_S, jit="off", **settings),
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """After a server restart the pool's connections know that they are closed: a fresh one, without a ping each time."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError
