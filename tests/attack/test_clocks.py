"""One replica whose wall clock is an hour off, beside a right one: it changes nothing, for anyone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import httpx
import msgspec
import nats
import pytest
from nats.aio.msg import Msg

from brownout import wire
from brownout.telemetry.counters import Telemetry
from brownout.telemetry.requests import Report
from brownout.wire.telemetry import RequestKey
from controlplane.access.actor import ANY_ENVIRONMENT, Role, system_actor
from controlplane.access.sessions import Origin
from controlplane.app import create_app, open_services
from controlplane.embedded.nats import EmbeddedNats
from controlplane.kit.clock import PostgresClock
from controlplane.safemode.expiry import Expiry
from controlplane.safemode.request import ActivationRequest
from controlplane.services import Services
from controlplane.settings import Secret, Settings
from controlplane.telemetry.boundary import Speaker
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio

ROOT = system_actor("system:test")
NEAR = timedelta(seconds=30)
"""Far less than an hour, far more than a busy machine loses."""


class Wall:
    """A server's clock that somebody sets."""

    def __init__(self, ahead: timedelta) -> None:
        self.ahead = ahead

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class World(NamedTuple):
    environment: str
    right: Services
    wrong: Services
    wall: Wall
    """The wrong one's."""
    postgres: asyncpg.Connection

    async def now(self) -> datetime:
        found: datetime = await self.postgres.fetchval("SELECT clock_timestamp()")
        return found


@pytest.fixture(params=[timedelta(hours=1), timedelta(hours=-1)], ids=["an hour ahead", "an hour behind"])
async def world(
    request: pytest.FixtureRequest, database_url: str, nats_server: EmbeddedNats, unique_environment: str
) -> AsyncIterator[World]:
    wall = Wall(request.param)
    async with (
        replica(database_url, nats_server.url, wall) as wrong,
        replica(database_url, nats_server.url, Wall(timedelta())) as right,
    ):
        await wrong.environments.create(ROOT, unique_environment, "Test")
        connection = await asyncpg.connect(database_url)
        yield World(unique_environment, right, wrong, wall, connection)
        await connection.close()


@asynccontextmanager
async def replica(database_url: str, nats_url: str, wall: Wall) -> AsyncIterator[Services]:
    settings = Settings(
        database_url=Secret(database_url), secret_key=Secret(SECRET_KEY), nats_url=nats_url, heartbeat_s=0.2
    )
    async with open_services(settings, PostgresClock(wall)) as services:
        yield services


async def test_its_activations_last_as_long_as_asked_and_nobody_lifts_them_early(world: World) -> None:
    made = {}
    # Two profiles: the same one again would extend the first.
    for name, services, profile in (("wrong", world.wrong, "contain"), ("right", world.right, "shed-load")):
        asked = ActivationRequest(profile=profile, reason=f"by the {name}", for_s=600)
        made[name] = (await services.safe_mode.activate(ROOT, world.environment, asked)).key
    for services in (world.wrong, world.right):
        await Expiry(services.store, services.changes, services.clock).tick()
    for services in (world.wrong, world.right):
        active = {each.key: each for each in await services.safe_mode.active(ROOT, world.environment)}
        assert set(active) == set(made.values())
        for each in active.values():
            assert each.expires_at - each.activated_at == timedelta(seconds=600)
            assert abs(each.activated_at - await world.now()) < NEAR
            assert each.left_s > 570
    envelopes = await world.wrong.store.envelopes(world.environment, 0, 10)
    for envelope in envelopes:
        signed = msgspec.json.decode(envelope.payload, type=wire.Envelope).ts
        assert abs(datetime.fromtimestamp(signed / 1000, UTC) - await world.now()) < NEAR


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)], ids=str)
async def test_its_heartbeats_carry_the_right_time(
    ahead: timedelta, nats_server: EmbeddedNats, database_url: str, unique_environment: str
) -> None:
    heard: asyncio.Queue[wire.Heartbeat] = asyncio.Queue()

    async def on_heartbeat(message: Msg) -> None:
        heard.put_nowait(msgspec.json.decode(message.data, type=wire.Heartbeat))

    client = await nats.connect(nats_server.url)
    await client.subscribe(wire.Subjects(unique_environment).heartbeat, cb=on_heartbeat)
    postgres = await asyncpg.connect(database_url)
    async with replica(database_url, nats_server.url, Wall(ahead)) as wrong:  # alone, so that it beats
        await wrong.environments.create(ROOT, unique_environment, "Test")
        for _ in range(3):
            beat = await asyncio.wait_for(heard.get(), 15)
            now = await postgres.fetchval("SELECT clock_timestamp()")
            assert abs(datetime.fromtimestamp(beat.ts / 1000, UTC) - now) < NEAR
    await postgres.close()
    await client.close()


async def test_sessions_tokens_and_links_hold_on_both(world: World) -> None:
    for maker, other in ((world.wrong, world.right), (world.right, world.wrong)):
        name = "wrong" if maker is world.wrong else "right"
        grants = {ANY_ENVIRONMENT: [Role.VIEWER.value]}
        token = await maker.access.tokens.create_service(ROOT, f"by {name}", grants)
        assert (await other.access.authenticator.by_bearer(token.token, "198.51.100.7")).name == f"by {name}"
        invited = await maker.access.people.invite(ROOT, f"{name}@example.com", name, grants)
        assert abs(invited.expires_at - await world.now() - timedelta(hours=72)) < NEAR
        signed_in = await other.access.sign_in.with_link(
            invited.secret, "a long enough password", Origin("198.51.100.7")
        )
        assert await maker.access.authenticator.by_session(signed_in.secret, "198.51.100.7") is not None
    ends = await world.postgres.fetch("SELECT expires_at, created_at FROM session")
    assert len({(row["expires_at"] - row["created_at"]) for row in ends}) == 1
    for row in ends:
        assert abs(row["created_at"] - await world.now()) < NEAR


async def test_its_telemetry_lands_in_the_right_minute(world: World) -> None:
    telemetry = Telemetry("i-1", "support")
    telemetry.record(RequestKey("support-reply", "haiku", "small", ""), Report())
    message = telemetry.message()
    assert message is not None
    world.wrong.telemetry.ingest.take(Speaker(world.environment, "key", "i-1"), message)
    await world.wrong.telemetry.ingest.flush()
    found = await world.postgres.fetch("SELECT at FROM telemetry_rollup WHERE step_s = 60")
    assert found
    for row in found:
        assert abs(row["at"] - await world.now()) < timedelta(minutes=1) + NEAR


async def test_setting_its_clock_while_it_runs_locks_nobody_out(world: World) -> None:
    """A limit that is measured by the wall clock refuses everyone for as long as the clock went back."""
    token = await world.wrong.access.tokens.create_service(ROOT, "pipeline", {ANY_ENVIRONMENT: [Role.VIEWER.value]})
    transport = httpx.ASGITransport(create_app(world.wrong))
    headers = {"Authorization": f"Bearer {token.token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
        for ahead in (timedelta(), timedelta(hours=-1), timedelta(hours=1), timedelta(hours=-2)):
            world.wall.ahead = ahead
            for path in (f"/api/v1/environments/{world.environment}", "/livez", "/readyz", "/metrics"):
                assert (await http.get(path)).status_code == 200, (ahead, path)
            await eventually(lambda: _knows(http))


async def _knows(http: httpx.AsyncClient) -> bool:
    checks: list[dict[str, Any]] = (await http.get("/healthz")).json()
    return any(check["name"] == "clock" for check in checks)


async def eventually(check: Callable[[], Awaitable[bool]], timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while not await check():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
