"""A process of many SDKs and as many bare subscribers: `python -m tests.bench.follower '<JSON of Orders>'`.

The SDKs are the real sync engine, one connection each, on one event loop as the bare subscribers are. For every message
it says when the last of them had it: a line of JSON each, on a clock that all processes share.
"""

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from brownout import wire
from brownout._sync.clock import SignedTime
from brownout._sync.direct import NotAnsweredError
from brownout._sync.progress import Progress
from brownout._sync.replica import Replica
from brownout._sync.session import Session
from brownout._sync.sink import Resources
from brownout.config import Config

RAW_SUBJECT = "raw.bench"
AT_ONCE = 25
START_PAUSE_S = 0.05


class Orders(msgspec.Struct, frozen=True):
    url: str
    key: str
    environment: str
    count: int


class Arrived(msgspec.Struct, frozen=True):
    """Every one of this process's `what` has `number`; the last one since `at` (CLOCK_MONOTONIC)."""

    what: str
    number: int
    at: float


class Tally:
    """Counts arrivals of one sort and says when all are there."""

    def __init__(self, what: str, count: int) -> None:
        self._what = what
        self._count = count
        self._seen: Counter[int] = Counter()

    def arrived(self, number: int) -> None:
        self._seen[number] += 1
        if self._seen[number] == self._count:
            say(Arrived(self._what, number, time.monotonic()))


class CountingSink(Resources):
    """Keeps specs as a client would, and counts what was applied."""

    def __init__(self, applied: Tally, started: Tally) -> None:
        super().__init__()
        self._applied = applied
        self._started = started
        self._at = 0

    def load(self, revision: int, batches: Iterable[list[tuple[str, str, bytes]]]) -> None:
        super().load(revision, batches)
        self._at = revision
        self._started.arrived(0)

    def apply(self, operations: Sequence[wire.Operation], revision: int) -> None:
        super().apply(operations, revision)
        for each in range(self._at + 1, revision + 1):  # a backlog is applied as one
            self._applied.arrived(each)
        self._at = revision


def say(arrived: Arrived) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(arrived) + b"\n")
    sys.stdout.buffer.flush()


async def main(orders: Orders) -> None:
    applied, heard = Tally("sdk", orders.count), Tally("raw", orders.count)
    gate = asyncio.Semaphore(AT_ONCE)

    async def bare() -> Client:
        async def on_message(message: Msg) -> None:
            heard.arrived(int((message.headers or {})["Number"]))

        client = Client()
        async with gate:
            await client.connect(orders.url, allow_reconnect=False)
            await client.subscribe(RAW_SUBJECT, cb=on_message)
            await client.flush()
        return client

    clients = await asyncio.gather(*(bare() for _ in range(orders.count)))
    started = Tally("started", orders.count)
    tasks = [
        asyncio.create_task(follow(orders, f"bench-{n}", CountingSink(applied, started), gate))
        for n in range(orders.count)
    ]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    for client in clients:
        await client.close()


async def follow(orders: Orders, instance: str, sink: CountingSink, gate: asyncio.Semaphore) -> None:
    key = wire.SdkKey.parse(orders.key)
    config = Config(urls=(orders.url,), key=key, environment=orders.environment)
    signed_time = SignedTime()
    progress = Progress(lambda: None, signed_time)
    verifier = wire.Verifier(orders.environment, {key.kid: key.public})
    replica = Replica(orders.environment, verifier, sink, progress.counters, time=signed_time, keep=False)
    async with gate:
        await asyncio.sleep(START_PAUSE_S)
    while True:
        with contextlib.suppress(NatsError, NotAnsweredError, OSError, TimeoutError):
            await Session(config, instance, replica, progress, lambda _final: None).run(orders.url)
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Orders)))
