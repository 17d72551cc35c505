"""One control-plane replica for the chaos tests: telemetry and rollouts, on a clock that may run fast.

`python -m tests.chaos.telemetry_replica DSN NATS_URL STARTED SPEED`; `STARTED` (Unix s) is shared by all replicas.
Prints a line once it takes part.
"""

import asyncio
import contextlib
import sys
import time
from datetime import UTC, datetime

import structlog

from controlplane.errors import UnavailableError
from controlplane.kit.database import Database
from controlplane.kit.link import Link
from controlplane.rollouts.engine import Engine
from controlplane.rollouts.facts import FactReader
from controlplane.telemetry.service import Telemetry
from tests.conftest import SECRET_KEY
from tests.integration.rollout_world import changes, open_store


class FastClock:
    def __init__(self, started: float, speed: float) -> None:
        self._started, self._speed = started, speed

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._started + (time.time() - self._started) * self._speed, UTC)


structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


async def main(dsn: str, url: str, started: float, speed: float) -> None:
    clock, database = FastClock(started, speed), Database(dsn, pool_size=3)
    store = open_store(database, clock, SECRET_KEY)
    telemetry, link = Telemetry(database, store, clock, {}, 10_000), Link([url])
    await telemetry.attach(link)
    engine = Engine(store, changes(database, store, clock), FactReader(database, clock), clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(link.run())
        group.create_task(telemetry.run())
        while not link.connected:  # noqa: ASYNC110 - a test waits for no more than this
            await asyncio.sleep(0.02)
        print("up", flush=True)
        while True:
            with contextlib.suppress(UnavailableError):
                await engine.tick()
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
