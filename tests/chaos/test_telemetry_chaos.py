"""Replicas and NATS are killed while instances report and a rollout advances: nothing is lost, doubled or skipped."""

import asyncio
import random
import re
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest

from brownout.model.parse import decode
from brownout.model.resources import Flag, Rollout
from brownout.wire import Operation
from controlplane.configuration.store import Store
from controlplane.contract.rollout_rules import expected, owned
from controlplane.embedded.nats import EmbeddedNats
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.telemetry import series, tables
from tests.integration.rollout_world import ENVIRONMENT, KEY, ME, RESOURCES, MovedClock, World, changes, raw

pytestmark = [pytest.mark.anyio, pytest.mark.chaos]

REPLICAS = 3
MOST_IN_AN_INTERVAL = 8 * 20


class Replicas:
    """Control-plane processes that are killed and started again; leaving the block ends them all."""

    def __init__(self, dsn: str, url: str, speed: float) -> None:
        self._arguments = [dsn, url, str(time.time()), str(speed)]
        self._running: list[asyncio.subprocess.Process] = []
        self.kills = 0

    async def __aenter__(self) -> Self:
        for _ in range(REPLICAS):
            await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._running:
            process.kill()
            await process.wait()

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._running.append(await start("tests.chaos.telemetry_replica", *self._arguments, stdout=pipe))

    async def up(self) -> None:
        """Returns when the youngest takes part: killing faster than replicas start would prove nothing."""
        assert (stdout := self._running[-1].stdout) is not None
        assert await stdout.readline() == b"up\n"

    async def kill_one(self, chance: random.Random) -> None:
        victim = self._running.pop(chance.randrange(len(self._running)))
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
        self.kills += 1
        await self.start()


async def start(module: str, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-m", module, *arguments, cwd=Path(__file__).parents[2], **options
    )


async def lines_of(process: asyncio.subprocess.Process) -> list[int]:
    assert process.stdout is not None
    return [int(line) async for line in process.stdout if line.strip().isdigit()]  # the rest is log lines


async def in_rollups(database: Database, group: str) -> int:
    now = datetime.now(UTC)
    async with database.reading() as connection:
        rows = await tables.rollups_between(
            connection,
            ENVIRONMENT,
            "request",
            step_s=series.FINE_S,
            since=now - timedelta(days=1),
            until=now + timedelta(1),
        )
    return sum(
        series.decode_request(row.totals).requests for row in rows if series.request_key(row.series).model == group
    )


async def test_rollups_equal_what_surviving_instances_counted(
    database: Database, database_url: str, store: Store, servers_folder: Path
) -> None:
    chance = random.Random(11)
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    with EmbeddedNats(servers_folder / "nats-telemetry-chaos") as server:
        async with Replicas(database_url, server.url, speed=1.0) as replicas:
            survivors, victims = [
                await start("tests.chaos.telemetry_instances", server.url, ENVIRONMENT, group, "8", **pipes)
                for group in ("survivor", "victim")
            ]
            reading = [asyncio.create_task(lines_of(process)) for process in (survivors, victims)]
            try:
                for turn in range(8):
                    await replicas.up()
                    await asyncio.sleep(1.2)
                    await replicas.kill_one(chance)
                    if turn == 3:
                        server.kill()
                        server.start()
                while await in_rollups(database, "victim") < MOST_IN_AN_INTERVAL:  # noqa: ASYNC110 - replicas write it
                    await asyncio.sleep(0.1)
                victims.kill()
                assert survivors.stdin is not None
                survivors.stdin.close()
                counted, killed = await asyncio.wait_for(asyncio.gather(*reading), 60)
            except BaseException:
                survivors.kill()
                victims.kill()
                raise
            await asyncio.gather(survivors.wait(), victims.wait())
            await asyncio.sleep(3)  # the victims' last messages have no answer to wait for

    assert await in_rollups(database, "survivor") == counted[-1]
    found = await in_rollups(database, "victim")
    assert killed[0] <= found <= killed[-1] + MOST_IN_AN_INTERVAL, (
        "what was not yet sent is missing, nothing is doubled"
    )


async def test_no_stage_is_skipped_repeated_or_lost_when_replicas_are_killed(
    database: Database, database_url: str, store: Store, nats_server: EmbeddedNats
) -> None:
    stages = 16
    world = World(database, store, MovedClock())
    world.changes = changes(database, store, SystemClock())
    ops = [Operation("put", kind, key, raw(spec)) for (kind, key), spec in RESOURCES.items()]
    await world.changes.commit(ME, ENVIRONMENT, ops, "the world")
    spec = {
        "flag": "support-model", "control": "small", "treatment": "big", "on_no_data": "advance",
        "stages": [{"weight_bp": 100 * (i + 1), "min_duration_s": 60} for i in range(stages)],
    }  # fmt: skip
    await world.rollouts.create(ME, ENVIRONMENT, KEY, msgspec.json.encode(spec), "new model")
    await world.rollouts.move(ME, ENVIRONMENT, KEY, "start", "go")
    chance = random.Random(12)
    async with asyncio.timeout(150), Replicas(database_url, nats_server.url, speed=1_000.0) as replicas:
        while (rollout := await state(store)).progress.state != "completed":
            await moved_on(store, rollout)
            await asyncio.sleep(chance.uniform(0.0, 0.4))
            await replicas.kill_one(chance)

    reached = [re.match(r"stage (\d+) of|completed", message) for message in await world.stages()]
    assert [int(found[1]) if found and found[1] else None for found in reached] == [*range(2, stages + 1), None]
    flag = decode("flag", (await store.get_resource(ENVIRONMENT, "flag", "support-model")).spec)
    assert isinstance(flag, Flag)
    assert owned(flag, KEY) == expected(rollout, KEY)
    assert replicas.kills >= 5


async def moved_on(store: Store, before: Rollout) -> None:
    """A replica takes a while to start: killing faster than that would prove nothing."""
    while (await state(store)).progress == before.progress:  # noqa: ASYNC110 - another process moves it
        await asyncio.sleep(0.02)


async def state(store: Store) -> Rollout:
    rollout = decode("rollout", (await store.get_resource(ENVIRONMENT, "rollout", KEY)).spec)
    assert isinstance(rollout, Rollout)
    return rollout
