"""What the tests of publishing share: a control plane's publishing half, and somebody who listens."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from brownout import wire
from controlplane.configuration.store import SigningKeys, Store
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.kit.link import Link
from controlplane.kit.tasks import end
from controlplane.publish import Pace, PublisherService, Shared
from tests.support import SECRET_KEY, connected

PATIENT = Pace(poll_s=60, heartbeat_s=60)
"""Does nothing by the clock: whatever happens was woken."""
QUICK = Pace(poll_s=0.1, heartbeat_s=0.2, settings_s=0.1)


def put(key: str, *include: str) -> wire.Operation:
    return wire.Operation("put", "cohort", key, msgspec.Raw(msgspec.json.encode({"include": include})))


class Replica:
    """A control plane's store and publishers, as one process would have them."""

    def __init__(self, database: Database, store: Store, keys: SigningKeys, link: Link, pace: Pace) -> None:
        self.database, self.store, self.keys, self.link = database, store, keys, link
        self.service = PublisherService(Shared(database, store, keys, link, SystemClock()), pace)

    async def commit(self, environment: str, *operations: wire.Operation) -> int:
        made = await self.store.commit(environment, operations, author="test", message="change")
        self.service.wake(environment)
        return made.revision


@asynccontextmanager
async def replica(database_url: str, nats_url: str, pace: Pace = QUICK) -> AsyncIterator[Replica]:
    database = Database(database_url)
    keys = SigningKeys(database, SystemClock(), SECRET_KEY)
    link = Link([nats_url])
    made = Replica(database, Store(database, SystemClock(), keys), keys, link, pace)
    tasks = [asyncio.create_task(link.run()), asyncio.create_task(made.service.run())]
    try:
        await connected(link)
        yield made
    finally:
        await end(*tasks)
        await database.close()


class Listener:
    """What an SDK hears: every message on `bo.<environment>.…`, decoded."""

    def __init__(self, client: Client, environment: str) -> None:
        self.client = client
        self.subjects = wire.Subjects(environment)
        self.envelopes: asyncio.Queue[wire.Envelope] = asyncio.Queue()
        self.heartbeats: asyncio.Queue[wire.Heartbeat] = asyncio.Queue()
        self.raw: list[Msg] = []

    async def on_log(self, message: Msg) -> None:
        self.raw.append(message)
        self.envelopes.put_nowait(msgspec.json.decode(message.data, type=wire.Envelope))

    async def on_heartbeat(self, message: Msg) -> None:
        self.heartbeats.put_nowait(msgspec.json.decode(message.data, type=wire.Heartbeat))

    async def next(self) -> wire.Envelope:
        return await asyncio.wait_for(self.envelopes.get(), 10)

    async def revisions(self, count: int) -> list[int]:
        return [(await self.next()).rev for _ in range(count)]

    async def first_heard(self, count: int) -> list[int]:
        """`count` different revisions, in the order of their first arrival, as SDKs take them: when the machine stalls for
        a moment, replicas send by core NATS too, and some arrive twice."""
        heard: dict[int, None] = {}
        while len(heard) < count:
            heard[(await self.next()).rev] = None
        return list(heard)

    async def heartbeat(self, where: Callable[[wire.Heartbeat], bool] = lambda _: True) -> wire.Heartbeat:
        async with asyncio.timeout(10):
            while not where(beat := await self.heartbeats.get()):
                pass
            return beat

    async def api(self, verb: str, body: object = None) -> dict[str, Any]:
        answer = await self.client.request(f"$JS.API.{verb}", b"" if body is None else msgspec.json.encode(body))
        decoded: dict[str, Any] = msgspec.json.decode(answer.data)
        return decoded

    async def stored(self, stream: str) -> list[Msg]:
        """Every message of a stream, read by Direct Get."""
        found: list[Msg] = []
        info = await self.api(f"STREAM.INFO.{stream}")
        for sequence in range(info["state"]["first_seq"], info["state"]["last_seq"] + 1):
            body = msgspec.json.encode({"seq": sequence})
            message = await self.client.request(f"$JS.API.DIRECT.GET.{stream}", body)
            if not (message.headers or {}).get("Status"):
                found.append(message)
        return found

    async def manifest(self) -> wire.Manifest | None:
        body = msgspec.json.encode({"last_by_subj": self.subjects.manifest})
        try:
            message = await self.client.request(f"$JS.API.DIRECT.GET.{self.subjects.snapshot_stream}", body)
        except NoRespondersError:
            return None
        return msgspec.json.decode(message.data, type=wire.Manifest) if message.data else None

    async def snapshot(self, manifest: wire.Manifest) -> dict[tuple[str, str], bytes]:
        chunks = []
        for index in range(manifest.n):
            body = msgspec.json.encode({"last_by_subj": self.subjects.chunk(manifest.sid, index)})
            chunk = await self.client.request(f"$JS.API.DIRECT.GET.{self.subjects.snapshot_stream}", body)
            chunks.append(chunk.data)
        assert wire.snapshot_digest(chunks) == manifest.sha
        return {(kind, key): spec for batch in wire.unpack_snapshot(chunks) for kind, key, spec in batch}


@asynccontextmanager
async def listener(url: str, environment: str) -> AsyncIterator[Listener]:
    client = await nats.connect(url)
    made = Listener(client, environment)
    await client.subscribe(made.subjects.log, cb=made.on_log)
    await client.subscribe(made.subjects.heartbeat, cb=made.on_heartbeat)
    for _ in range(2):  # nats-py's first ping overtakes a subscription that waits to be sent
        await client.flush()
    try:
        yield made
    finally:
        with suppress(Exception):
            await client.close()


async def until(condition: Callable[[], Any], timeout_s: float = 10) -> Any:
    """Asks again and again; returns the first true answer."""
    async with asyncio.timeout(timeout_s):
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.01)
