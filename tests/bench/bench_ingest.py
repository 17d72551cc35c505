"""What a thousand instances' telemetry and presence cost the control plane and Postgres."""

import asyncio
import contextlib
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from controlplane.configuration.store import SigningKeys, Store
from controlplane.configuration.store.migrate import migrate
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.kit.link import Link
from controlplane.telemetry import series, tables
from controlplane.telemetry.service import Telemetry
from tests.bench.report import Ratio, Report
from tests.support import connected

SECONDS = 40.0
WARM_UP_S = 12.0
"""The first messages of a thousand instances open a thousand rows; what lasts is what comes after."""


def run() -> Report:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder) / "pg") as postgres, EmbeddedNats(Path(folder) / "nats") as nats:
            return asyncio.run(_measure(postgres.dsn(), nats.url))


async def _measure(dsn: str, url: str) -> Report:
    database, clock = Database(dsn), SystemClock()
    await migrate(database)
    store = Store(database, clock, SigningKeys(database, clock, "a secret of the bench, long enough"))
    telemetry, link = Telemetry(database, store, clock, {}, 14), Link([url])
    await telemetry.attach(link)
    tasks = [asyncio.create_task(link.run()), asyncio.create_task(telemetry.run())]
    await connected(link)
    load = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.telemetry_load",
        url,
        "production",
        str(SECONDS),
        stdout=asyncio.subprocess.PIPE,
    )
    await asyncio.sleep(WARM_UP_S)
    before = (time.monotonic(), time.process_time(), await _rows(database))
    await asyncio.sleep(SECONDS - WARM_UP_S - 3)
    after = (time.monotonic(), time.process_time(), await _rows(database))
    out, _ = await load.communicate()
    sent, requests = (int(n) for n in out.split())
    await asyncio.sleep(4)
    counted = await _counted(database)
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await database.close()
    wall, cpu, rows = (b - a for a, b in zip(before, after, strict=True))
    return Report(
        "1,000 instances, each 2 requests a second and a message every 10 s",
        {
            "messages sent, and folded": f"{sent:,} / {telemetry.ingest.received:,}",
            "requests counted by instances, and in the rollups": f"{requests:,} / {counted:,}",
            "control plane, share of a core": f"{cpu / wall:.3f}",
            "Postgres rows written a second": f"{rows / wall:.0f}",
        },
        (
            Ratio("core used / half a core", cpu / wall / 0.5, 1.0),
            Ratio("rows written a second / 200", rows / wall / 200, 1.0),
            Ratio("requests lost or doubled / requests", abs(requests - counted) / requests, 0.0),
        ),
    )


async def _rows(database: Database) -> int:
    async with database.writing() as connection:
        await connection.execute(text("SELECT pg_stat_clear_snapshot()"))
        found = await connection.execute(text("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"))
        return int(found.scalar_one())


async def _counted(database: Database) -> int:
    now = datetime.now(UTC)
    async with database.reading() as connection:
        rows = await tables.rollups_between(
            connection, "production", "request", step_s=series.FINE_S, since=now - timedelta(hours=1),
            until=now + timedelta(hours=1),
        )  # fmt: skip
    return sum(series.decode_request(row.totals).requests for row in rows)
