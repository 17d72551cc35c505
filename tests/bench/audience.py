"""Processes of followers (follower.py), and when the last of all of them had a message."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from types import TracebackType

import msgspec

from tests.bench.follower import Arrived, Orders
from tests.bench.plane import ENVIRONMENT, Plane

STARTS_S = 240
ARRIVES_S = 30


class Audience:
    """`count` SDKs and as many bare subscribers, spread over `processes`."""

    def __init__(self, plane: Plane, count: int, processes: int) -> None:
        each = Orders(plane.nats_url, plane.sdk_key, ENVIRONMENT, count // processes)
        self._orders = [each] * processes
        self._processes: list[Process] = []
        self._readers: list[asyncio.Task[None]] = []
        self._arrivals: dict[tuple[str, int], list[float]] = {}
        self._news = asyncio.Condition()

    async def __aenter__(self) -> "Audience":
        for orders in self._orders:
            command = [sys.executable, "-m", "tests.bench.follower", msgspec.json.encode(orders).decode()]
            process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
            self._processes.append(process)
            self._readers.append(asyncio.create_task(self._read(process)))
        await self.last("started", 0, STARTS_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            await process.wait()
        await asyncio.gather(*self._readers)

    async def last(self, what: str, number: int, timeout_s: float = ARRIVES_S) -> float:
        """When (CLOCK_MONOTONIC) the last one had it."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(lambda: len(self._arrivals.get((what, number), [])) == len(self._processes))
        return max(self._arrivals[what, number])

    async def _read(self, process: Process) -> None:
        assert process.stdout
        async for line in process.stdout:
            arrived = msgspec.json.decode(line, type=Arrived)
            async with self._news:
                self._arrivals.setdefault((arrived.what, arrived.number), []).append(arrived.at)
                self._news.notify_all()
