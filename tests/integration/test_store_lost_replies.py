"""The connection breaks just when a commit was written: the answer must still be true."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from controlplane.clock import SystemClock
from controlplane.database import Database
from controlplane.errors import UnavailableError
from controlplane.store import SigningKeys, Store
from tests.conftest import SECRET_KEY
from tests.integration.resources import cohort, put

pytestmark = pytest.mark.anyio

MARK = b"lose this reply"


class LossyProxy:
    """Passes everything on, but for the reply to what holds MARK: then it hangs up, and lets nobody in if `for_good`."""

    def __init__(self, host: str, port: int, *, for_good: bool) -> None:
        self._upstream = host, port
        self._for_good = for_good
        self._lost = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._lost and self._for_good:
            writer.close()
            return
        server_reader, server_writer = await asyncio.open_connection(*self._upstream)
        marked = asyncio.Event()

        async def forward() -> None:
            while data := await reader.read(65_536):
                if MARK in data:
                    marked.set()
                server_writer.write(data)

        forwarding = asyncio.create_task(forward())
        while data := await server_reader.read(65_536):
            if marked.is_set():
                self._lost = True
                break
            writer.write(data)
        writer.close()
        forwarding.cancel()
        server_writer.close()


@asynccontextmanager
async def store_behind(proxy_url: str, *, for_good: bool) -> AsyncIterator[Store]:
    url = urlsplit(proxy_url)
    assert url.hostname
    assert url.port
    proxy = LossyProxy(url.hostname, url.port, for_good=for_good)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = Database(proxy_url.replace(f":{url.port}/", f":{port}/"))
    yield Store(database, SystemClock(), SigningKeys(database, SystemClock(), SECRET_KEY))
    await database.close()
    server.close()


async def test_a_commit_whose_reply_was_lost_is_found_and_acknowledged(store: Store, database_url: str) -> None:
    async with store_behind(database_url, for_good=False) as behind:
        done = await behind.commit("production", [put(cohort("beta"))], author="mara", message=MARK.decode())
        assert (done.revision, done.chain) == (1, (await store.head("production")).chain)
        assert (await behind.commit("production", [put(cohort("b"))], author="mara", message="on")).revision == 2


async def test_when_nobody_can_be_asked_the_answer_says_that_the_outcome_is_unknown(
    store: Store, database_url: str
) -> None:
    words = {"author": "mara", "message": MARK.decode(), "idempotency_key": "once"}
    async with store_behind(database_url, for_good=True) as behind:
        with pytest.raises(UnavailableError, match="may have been made"):
            await behind.commit("production", [put(cohort("beta"))], **words)
    again = await store.commit("production", [put(cohort("beta"))], **words)
    assert (again.revision, again.replayed) == (1, True)
