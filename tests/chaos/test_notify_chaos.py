"""Replicas are killed while they deliver: every event arrives, is processed once by its id, and none is reordered."""

import asyncio
import os
import random
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from tests.integration.notifying import Desk, Receiver, listening

pytestmark = [pytest.mark.anyio, pytest.mark.chaos]

REPLICAS, COURSES, CHANNELS = 3, 40, 4


class Processor:
    """What a careful receiver does: each id once, in the order in which it first came."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.courses: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.twice = 0

    def process(self, receiver: Receiver) -> None:
        while receiver.heard:
            heard = receiver.heard.pop(0)
            if "n" not in heard.data:
                continue
            place = f"{heard.path} {heard.id}"
            if place in self.seen:
                self.twice += 1
                continue
            self.seen.add(place)
            self.courses[heard.path, heard.data["environment"]].append(int(heard.data["n"]))


async def start(dsn: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-m", "tests.chaos.notify_replica", dsn, cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    return process


async def test_killed_replicas_lose_double_and_reorder_nothing(database_url: str, long: bool) -> None:
    events, kills = (10_000, 200) if long else (240, 4)
    chance, database, processor = random.Random(16), Database(database_url), Processor()
    async with listening() as receiver:
        desk = Desk(database)
        for number in range(CHANNELS):
            config: dict[str, Any] = {"url": f"http://127.0.0.1:{receiver.port}/{number}"}
            await desk.channel(f"channel-{number}", None, "webhook", config)
            await desk.subscribe(f"all-{number}", f"channel-{number}")
        running = [await start(database_url) for _ in range(REPLICAS)]
        writer = desk.replica(clock=SystemClock()).writer

        async def cause() -> None:
            for n in range(events):
                async with database.transaction() as connection:
                    await writer.tell("instances_lag", {"environment": f"env-{n % COURSES}", "n": str(n)}, connection)

        async def kill() -> None:
            for _ in range(kills):
                await asyncio.sleep(chance.uniform(0.05, 0.6))
                victim = running.pop(chance.randrange(len(running)))
                victim.send_signal(signal.SIGKILL)
                await victim.wait()
                running.append(await start(database_url))
                processor.process(receiver)

        try:
            await asyncio.gather(cause(), kill())
            async with asyncio.timeout(900 if long else 120):
                while await desk.value("SELECT count(*) FROM delivery WHERE ended_at IS NULL"):
                    await asyncio.sleep(0.2)
                    processor.process(receiver)
        finally:
            for process in running:
                process.kill()
                await process.wait()
            processor.process(receiver)
            states = await desk.value(
                "SELECT string_agg(DISTINCT state, ' ') FROM delivery WHERE kind = 'instances_lag'"
            )
            await database.close()
    assert states == "delivered"
    assert len(processor.seen) == events * CHANNELS
    assert len(processor.courses) == COURSES * CHANNELS
    assert all(course == sorted(course) for course in processor.courses.values())
