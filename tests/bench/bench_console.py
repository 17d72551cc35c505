"""What the overview costs to render with 5,000 flags and 500 instances, beside a page that renders nothing."""

import asyncio
import tempfile
from pathlib import Path
from time import perf_counter, time
from types import SimpleNamespace
from typing import cast

import httpx
import msgspec
from nats.aio.msg import Msg

from brownout.wire import Presence
from controlplane.access.actor import system_actor
from controlplane.app import create_app, open_services
from controlplane.configuration.store.migrate import migrate
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.kit.database import Database
from controlplane.services import Services
from controlplane.settings import Secret, Settings
from controlplane.telemetry import tables
from tests.bench.report import Ratio, Report, ms, percentile
from tests.integration.resources import flag, put
from tests.support import SECRET_KEY

FLAGS, INSTANCES, ROUNDS = 5_000, 500, 60
BENCH = system_actor("system:bench")
PATHS = {
    "empty page": "/sign-in",
    "overview": "/e/production",
    "flags": "/e/production/flags?q=7",
    "fleet": "/e/production/fleet",
}


def run() -> Report:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder) / "postgres") as postgres, EmbeddedNats(Path(folder) / "nats") as nats:
            return asyncio.run(_measure(postgres.dsn(), nats.url))


async def _measure(database_url: str, nats_url: str) -> Report:
    database = Database(database_url)
    await migrate(database)
    await database.close()
    settings = Settings(database_url=Secret(database_url), secret_key=Secret(SECRET_KEY), nats_url=nats_url)
    async with open_services(settings) as services:
        await services.environments.create(BENCH, "production", "Production")
        ops = [put(flag(f"flag-{number}")) for number in range(FLAGS)]
        commit = await services.store.commit("production", ops, author="bench", message="fill")
        await _fleet(services, commit.epoch, commit.revision)
        served = [(f"flag-{number}", variant) for number in range(FLAGS) for variant in ("on", "off")]
        async with services.database.transaction() as connection:
            await tables.put_flag_uses(connection, "production", served, services.clock.now())
        token = await services.access.tokens.create_service(BENCH, "bench", {"production": ["viewer"]})
        transport = httpx.ASGITransport(create_app(services))
        headers = {"Authorization": f"Bearer {token.token}"}
        samples: dict[str, list[float]] = {name: [] for name in PATHS}
        size = 0
        async with httpx.AsyncClient(transport=transport, base_url="http://bench", headers=headers) as client:
            for _ in range(ROUNDS):  # in turns, so that whatever else the machine does hits all alike
                for name, path in PATHS.items():
                    started = perf_counter()
                    answer = await client.get(path)
                    samples[name].append(perf_counter() - started)
                    assert answer.status_code == 200, (path, answer.text[:400])
                    size = max(size, int(answer.headers["content-length"])) if name == "overview" else size
    p50 = {name: percentile(found[ROUNDS // 10 :], 0.5) for name, found in samples.items()}
    return Report(
        f"Console with {FLAGS:,} flags and {INSTANCES} instances, p50 of {ROUNDS}, through the whole application",
        {
            **{name: ms(found) for name, found in p50.items()},
            "p95 of the overview": ms(percentile(samples["overview"], 0.95)),
            "the overview's HTML as it travels": f"{size / 1000:.1f} kB",
        },
        (
            Ratio("overview beside an empty page", p50["overview"] / p50["empty page"], 30.0),
            Ratio("overview beside 30 ms", p50["overview"] / 0.030),
        ),
    )


async def _fleet(services: Services, epoch: int, revision: int) -> None:
    """Five hundred instances in ten services, as their presence would say it."""
    for number in range(INSTANCES):
        now = int(time() * 1000)
        said = Presence(f"instance-{number}", f"service-{number % 10}", "0.1.0", epoch, revision, "LIVE", 1.0, now, now)
        message = SimpleNamespace(subject=f"bot.production.key.{said.instance}.p", data=msgspec.json.encode(said))
        await services.telemetry.fleet.heard(cast("Msg", message))
