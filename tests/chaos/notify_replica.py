"""One replica's deliveries for the chaos tests: `python -m tests.chaos.notify_replica DSN`. Prints a line once it runs."""

import asyncio
import sys

import structlog

from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from tests.integration.notifying import Desk

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


async def main(dsn: str) -> None:
    desk = Desk(Database(dsn, pool_size=4))
    replica = desk.replica(clock=SystemClock())
    print("up", flush=True)
    await replica.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
