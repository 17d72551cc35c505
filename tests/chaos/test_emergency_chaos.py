"""A Postgres that is killed, hangs or takes no writes, and a fleet. `make chaos` has twenty SDKs and measures the bounds."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta

import asyncpg
import pytest

from brownout import Brownout
from controlplane.access.passes import Passes
from controlplane.configuration.store.migrate import migrate
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.errors import UnauthenticatedError
from controlplane.kit.database import Database
from tests.attack.test_operator_passes import HELD, counted, forgeries, issued
from tests.integration.accessing import MovableClock
from tests.integration.test_emergency import CONTAIN, Site, _backends
from tests.integration.test_health import ROOT, _open, eventually, running
from tests.support import SECRET_KEY

pytestmark = [pytest.mark.anyio, pytest.mark.chaos, pytest.mark.xdist_group("chaos")]

SDKS, FEW = 20, 3
BOUND_S = 1.0
FORGERIES, SOME = 100_000, 1_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(_open(tmp_path_factory.mktemp("chaos")) / "postgres", durable=False) as started:
        yield started


class Fleet(Site):
    """The site of the integration tests, with twenty SDKs."""

    sdks: tuple[Brownout, ...] = ()

    async def all_apply(self, key: str) -> float:
        """Seconds until every SDK does."""
        began = time.monotonic()

        async def says() -> bool:
            return all(key in {one.key for one in sdk._compiled.active} for sdk in self.sdks)

        await eventually(says)
        return time.monotonic() - began


@pytest.fixture
async def fleet(
    server: EmbeddedPostgres, nats_server: EmbeddedNats, unique_environment: str, long: bool
) -> AsyncIterator[Fleet]:
    if not server.running:
        server.start()
    name = unique_environment.replace("-", "_")
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    database = Database(server.dsn(name))
    await migrate(database)
    await database.close()
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(running(server.dsn(name), unique_environment, nats_url=nats_server.url))
            for _ in range(2)
        ]
        key = (await one.services.access.keys.create(ROOT, unique_environment, "sdk")).key
        sdks = []
        for _ in range(SDKS if long else FEW):
            sdk = Brownout.connect(nats_server.url, key=key, environment=unique_environment, service="s", disk=False)
            stack.push_async_callback(asyncio.to_thread, sdk.close)
            sdks.append(sdk)
        actor = await one.services.access.authenticator.by_bearer(one.http.headers["Authorization"][7:], "")
        made = one.services.access.passes.issue(actor)
        assert made is not None
        site = Fleet(server, one, other, sdks[0], made)
        site.sdks = tuple(sdks)
        for plane in (one, other):
            await plane.services.emergency.refresh()

        async def live() -> bool:
            return one.services.telemetry.fleet.live(unique_environment) == len(sdks)

        await eventually(live)
        yield site


@pytest.mark.parametrize("how", ["killed", "stopped", "read-only"])
async def test_the_fleet_has_it_within_a_second_and_the_log_takes_it_once(fleet: Fleet, how: str, long: bool) -> None:
    database = fleet.one.services.settings.database_url.reveal().rpartition("/")[2]
    hanging = await _backends(fleet.server) if how == "stopped" else []
    if how == "killed":
        fleet.server.kill()
    for pid in hanging:
        os.kill(pid, signal.SIGSTOP)
    if how == "read-only":
        await _set(fleet.server, database, "SET default_transaction_read_only = on")
    began = time.monotonic()
    request = asyncio.create_task(fleet.post("/activations", CONTAIN))

    async def begun() -> bool:
        return bool(fleet.one.services.emergency.active(fleet.environment))

    await eventually(begun)
    if how == "stopped":  # what comes before is how long the control plane waits for a Postgres that hangs
        began = time.monotonic()
    (active,) = fleet.one.services.emergency.active(fleet.environment)
    await fleet.all_apply(active.key)
    took_s = time.monotonic() - began
    for pid in hanging:
        os.kill(pid, signal.SIGCONT)
    done = (await request).json()
    assert done["key"] == active.key
    if how == "killed":
        await fleet.start()
    if how == "read-only":
        await _set(fleet.server, database, "RESET default_transaction_read_only")
    await fleet.one.green()
    await fleet.origin(active.key, "log")
    ((what, key, _, _),) = await fleet.switches()
    assert (what, key) == ("on", active.key)
    assert (await fleet.one.services.store.verify_history(fleet.environment)).broken is None
    assert took_s <= BOUND_S or not long, took_s


async def _set(server: EmbeddedPostgres, database: str, what: str) -> None:
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(f"ALTER DATABASE {database} {what}")
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
    await connection.close()


def test_passes_that_do_not_hold_open_nothing(long: bool) -> None:
    passes = Passes((SECRET_KEY,), MovableClock(), Database("postgresql://nobody@127.0.0.1:9/x"), timedelta(days=30))
    passes.holders = HELD
    before, made = counted(), forgeries(issued(passes), random.Random(1))
    count = FORGERIES if long else SOME
    for _ in range(count):
        with pytest.raises(UnauthenticatedError):
            passes.open(next(made))
    assert counted() - before == count
