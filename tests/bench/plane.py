"""A control plane's writing half in this process, on a durable Postgres and a NATS of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from brownout.wire import Operation, SdkKey
from controlplane.configuration.store import SigningKeys, Store
from controlplane.configuration.store.migrate import migrate
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.kit.link import Link
from controlplane.kit.tasks import end
from controlplane.publish import PublisherService, Shared
from tests.support import SECRET_KEY

ENVIRONMENT = "bench"


class Plane:
    def __init__(self, database: Database, store: Store, publisher: PublisherService, nats_url: str, key: str) -> None:
        self.database = database
        self.nats_url = nats_url
        self.sdk_key = key
        self._store = store
        self._publisher = publisher

    async def commit(self, number: int) -> int:
        """A commit like any other; returns once it is acknowledged, with its revision."""
        spec = msgspec.Raw(msgspec.json.encode({"include": [f"u-{number}-{n}" for n in range(20)]}))
        operation = Operation("put", "cohort", f"cohort-{number % 50}", spec)
        made = await self._store.commit(ENVIRONMENT, [operation], author="bench", message="round")
        self._publisher.wake(ENVIRONMENT)
        return made.revision

    async def payload(self) -> bytes:
        """The newest envelope, so that what it is compared with carries as much."""
        head = await self._store.head(ENVIRONMENT)
        return (await self._store.envelopes(ENVIRONMENT, head.revision - 1, 1))[0].payload


@asynccontextmanager
async def running_plane(folder: Path) -> AsyncIterator[Plane]:
    """`folder` must be open to the user that Postgres runs as."""
    with EmbeddedPostgres(folder / "postgres") as postgres, EmbeddedNats(folder / "nats") as nats:
        async with _plane(postgres.dsn(), nats.url) as plane:
            yield plane


@asynccontextmanager
async def _plane(database_url: str, nats_url: str) -> AsyncIterator[Plane]:
    clock = SystemClock()
    database = Database(database_url)
    await migrate(database)
    keys = SigningKeys(database, clock, SECRET_KEY)
    store = Store(database, clock, keys)
    await store.create_environment(ENVIRONMENT, "Bench")
    link = Link([nats_url])
    publisher = PublisherService(Shared(database, store, keys, link, clock))
    tasks = [asyncio.create_task(link.run()), asyncio.create_task(publisher.run())]
    signing = await keys.current(ENVIRONMENT)
    try:
        yield Plane(database, store, publisher, nats_url, SdkKey.format("bo_sdk_bench", signing.kid, signing.public))
    finally:
        await end(*tasks)
        await database.close()
