"""What a commit costs: beside a bare insert, and in an environment of 5,000 flags beside one of 50."""

import asyncio
import tempfile
from pathlib import Path
from time import perf_counter

from brownout.wire import Operation
from controlplane.configuration.store import SigningKeys, Store
from controlplane.configuration.store.migrate import migrate
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from tests.bench.report import Ratio, Report, ms, percentile
from tests.conftest import SECRET_KEY
from tests.integration.resources import cohort, flag, in_cohort, put

ROUNDS = 300
SMALL, LARGE = 50, 5_000


def run() -> Report:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder) / "postgres") as server:
            return asyncio.run(_measure(server.dsn()))


async def _measure(url: str) -> Report:
    database = Database(url)
    await migrate(database)
    store = Store(database, SystemClock(), SigningKeys(database, SystemClock(), SECRET_KEY))
    samples: dict[str, list[float]] = {"bare": [], "small": [], "large": []}
    for name, size in (("small", SMALL), ("large", LARGE)):
        await store.create_environment(name, name)
        await store.commit(name, _environment(size), author="bench", message="fill")
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("CREATE TABLE bare (id bigint PRIMARY KEY, payload bytea)")
        await connection.exec_driver_sql("ANALYZE")
    for number in range(ROUNDS):  # in turns, so that whatever else the machine does hits all alike
        samples["bare"].append(await _bare(database, number))
        for name in ("small", "large"):
            op = put(_flag(number % SMALL, description=f"round {number}"))
            started = perf_counter()
            await store.commit(name, [op], author="bench", message="round")
            samples[name].append(perf_counter() - started)
    rebuilt = await _timed(store.state("large", 1 + ROUNDS // 2))
    await database.close()
    p50 = {name: percentile(found[ROUNDS // 10 :], 0.5) for name, found in samples.items()}
    return Report(
        f"Commit, p50 of {ROUNDS}, fsync on",
        {
            "bare Postgres insert commit": ms(p50["bare"]),
            f"commit into {SMALL} flags": ms(p50["small"]),
            f"commit into {LARGE:,} flags": ms(p50["large"]),
            f"p95 of a commit into {LARGE:,} flags": ms(percentile(samples["large"], 0.95)),
            f"rebuilding a past revision of {LARGE:,} flags": ms(rebuilt),
        },
        (
            Ratio(f"commit beside a bare insert ({SMALL} flags)", p50["small"] / p50["bare"], 3.0),
            Ratio(f"{LARGE:,} flags beside {SMALL}", p50["large"] / p50["small"], 2.0),
        ),
    )


async def _bare(database: Database, number: int) -> float:
    started = perf_counter()
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("INSERT INTO bare VALUES ($1, $2)", (number, b"x" * 600))
    return perf_counter() - started


async def _timed(awaitable: object) -> float:
    started = perf_counter()
    await awaitable  # type: ignore[misc]
    return perf_counter() - started


def _flag(number: int, **more: object) -> tuple[str, str, object]:
    return flag(f"flag-{number:05}", rules=[in_cohort("beta")], tags=["bench"], owner="team", **more)


def _environment(flags: int) -> list[Operation]:
    return [put(cohort("beta", *(f"u-{n}" for n in range(20)))), *(put(_flag(n)) for n in range(flags))]
