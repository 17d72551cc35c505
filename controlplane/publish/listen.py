"""Postgres tells that something was committed: a connection of its own that comes back when it is lost."""

import asyncio
import contextlib
from collections.abc import Callable

import asyncpg
import structlog

from controlplane.configuration.store import NOTIFY_CHANNEL
from controlplane.kit.background import beat
from controlplane.kit.postgres_url import parse
from controlplane.kit.tasks import wait_set

log = structlog.get_logger(__name__)

CHECK_EVERY_S = 5.0
TIMEOUT_S = 3
RETRY_S = 0.5


async def listen(url: str, on_notify: Callable[[str], None], on_connected: Callable[[], None]) -> None:
    """Calls `on_notify(environment)` for every commit, and `on_connected` whenever some may have been missed."""
    while True:
        try:
            await _listen_once(url, on_notify, on_connected)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.debug("listen_lost", error=str(error))
        beat("publisher.listen", RETRY_S + TIMEOUT_S)
        await asyncio.sleep(RETRY_S)


async def _listen_once(url: str, on_notify: Callable[[str], None], on_connected: Callable[[], None]) -> None:
    ended = asyncio.Event()
    connection = await asyncpg.connect(**parse(url).arguments(TIMEOUT_S), command_timeout=TIMEOUT_S)
    try:
        await connection.add_listener(
            NOTIFY_CHANNEL, lambda _connection, _pid, _channel, payload: on_notify(str(payload))
        )
        connection.add_termination_listener(lambda _connection: ended.set())
        on_connected()
        while not ended.is_set():
            beat("publisher.listen", CHECK_EVERY_S + TIMEOUT_S)
            await wait_set(ended, CHECK_EVERY_S)
            await connection.execute("SELECT 1")
    finally:
        with contextlib.suppress(Exception):
            await connection.close(timeout=1)
