"""The connection breaks just when a commit was written: the answer must still be true."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from controlplane.access.actor import system_actor
from controlplane.access.audit import Audit
from controlplane.access.rule import CommitRule
from controlplane.configuration.changes import Changes
from controlplane.configuration.store import SigningKeys, Store
from controlplane.configuration.store.values import Commit
from controlplane.errors import ConflictError, UnavailableError
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database, WriteConnection
from tests.conftest import SECRET_KEY
from tests.integration.resources import cohort, put

pytestmark = pytest.mark.anyio

MARK = b"lose this reply"
MARA = system_actor("mara")


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
async def store_behind(proxy_url: str, *, for_good: bool) -> AsyncIterator[tuple[Store, Database]]:
    url = urlsplit(proxy_url)
    assert url.hostname
    assert url.port
    proxy = LossyProxy(url.hostname, url.port, for_good=for_good)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = Database(proxy_url.replace(f":{url.port}/", f":{port}/"))
    yield Store(database, SystemClock(), SigningKeys(database, SystemClock(), SECRET_KEY)), database
    await database.close()
    server.close()


async def test_a_commit_whose_reply_was_lost_is_found_and_acknowledged(store: Store, database_url: str) -> None:
    async with store_behind(database_url, for_good=False) as (behind, _):
        done = await behind.commit("production", [put(cohort("beta"))], author="mara", message=MARK.decode())
        assert (done.revision, done.chain) == (1, (await store.head("production")).chain)
        assert (await behind.commit("production", [put(cohort("b"))], author="mara", message="on")).revision == 2


async def test_when_nobody_can_be_asked_the_answer_says_that_the_outcome_is_unknown(
    store: Store, database_url: str
) -> None:
    words = {"author": "mara", "message": MARK.decode(), "idempotency_key": "once"}
    async with store_behind(database_url, for_good=True) as (behind, _):
        with pytest.raises(UnavailableError, match="may have been made"):
            await behind.commit("production", [put(cohort("beta"))], **words)
    again = await store.commit("production", [put(cohort("beta"))], **words)
    assert (again.revision, again.replayed) == (1, True)


async def test_a_commit_and_its_line_in_the_audit_log_are_there_together_or_not_at_all(
    store: Store, database: Database, database_url: str
) -> None:
    """Wherever the connection breaks; here right after the commit was written, before its line was."""
    for for_good in (True, False):
        async with store_behind(database_url, for_good=for_good) as (behind, through):
            rule = CommitRule(through, SystemClock(), Audit(through, SystemClock()))
            gate = Changes(behind, rule, lambda _environment, _revision: None)
            with contextlib.suppress(UnavailableError):
                await gate.commit(MARA, "production", [put(cohort(f"c-{for_good}".lower()))], MARK.decode())
    again = Changes(
        store, CommitRule(database, SystemClock(), Audit(database, SystemClock())), lambda _environment, _revision: None
    )
    await again.commit(MARA, "production", [put(cohort("last"))], "undisturbed")
    logged = {f"r{commit.revision}" for commit in await store.list_commits("production")}
    audited = [line.entry.target for line in await Audit(database, SystemClock()).list_events(MARA)]
    assert sorted(audited) == sorted(logged)
    assert audited


async def test_what_a_witness_refuses_was_never_committed(store: Store, database: Database) -> None:
    async def refuse(connection: WriteConnection, commit: Commit) -> None:
        assert (await connection.execute(text("SELECT max(revision) FROM revision"))).scalar() == commit.revision
        raise ConflictError("no")

    for _ in range(30):  # more than the pool has: none of them is lost
        with pytest.raises(ConflictError):
            await store.commit("production", [put(cohort("a"))], author="mara", message="no", witness=refuse)
    assert (await store.head("production")).revision == 0
    assert (await store.commit("production", [put(cohort("a"))], author="mara", message="yes")).revision == 1
