"""Health tells the truth: each part is really broken, turns its check red, and green again when it is mended."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx
import msgspec
import nats
import pytest
from nats.aio.client import Client

from brownout.telemetry.counters import Telemetry
from brownout.telemetry.requests import Report
from brownout.wire import Presence
from brownout.wire.telemetry import RequestKey
from controlplane.access.actor import ANY_ENVIRONMENT, Role, system_actor
from controlplane.access.natsconfig import CONTROL_USER, NatsSecrets, accounts_config
from controlplane.access.responder import AuthdSettings, open_authd
from controlplane.app import create_app, open_services
from controlplane.configuration.store.migrate import migrate
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.kit.clock import PostgresClock
from controlplane.kit.database import Database
from controlplane.kit.tasks import end
from controlplane.publish.mend import Mender
from controlplane.publish.parts import Position
from controlplane.safemode.expiry import Expiry
from controlplane.services import Services
from controlplane.settings import Secret, Settings
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio

ROOT = system_actor("system:test")
CONTAIN = {"profile": "contain", "reason": "INC-1", "for_s": 600}


class Plane(NamedTuple):
    services: Services
    http: httpx.AsyncClient
    environment: str
    database: asyncpg.Connection
    """Past the control plane, for those who break things."""
    told: list[tuple[str, str]]
    """(event, check) of every alert."""

    async def failing(self) -> dict[str, str]:
        """What /healthz says: reasons by failing check; it answers 503 exactly when there are any."""
        response = await self.http.get("/healthz", headers={"Authorization": ""})
        found = {each["name"]: each["reason"] for each in response.json() if each["state"] == "failing"}
        assert response.status_code == (503 if found else 200)
        return found

    async def red(self, check: str) -> str:
        """Waits until `check` fails; returns its reason."""
        await eventually(lambda: self._has(check))
        assert (await self.failing())[check]
        text = (await self.http.get("/metrics")).text
        assert f'brownout_health{{check="{check}"}} 0.0' in text
        return (await self.failing())[check]

    async def green(self) -> None:
        await eventually(self._sound)

    async def _has(self, check: str) -> bool:
        return check in await self.failing()

    async def _sound(self) -> bool:
        return not await self.failing()

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = await self.http.post(f"/api/v1/environments/{self.environment}{path}", json=body)
        assert response.status_code in {200, 201}, response.text
        answered: dict[str, Any] = response.json()
        return answered

    async def fleet(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get(f"/api/v1/environments/{self.environment}/fleet")).json()
        return found


async def eventually(check: Callable[[], Awaitable[bool]], timeout_s: float = 30) -> None:
    async with asyncio.timeout(timeout_s):
        while not await check():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(database_url: str, environment: str, **settings: Any) -> AsyncIterator[Plane]:
    configured = Settings(database_url=Secret(database_url), secret_key=Secret(SECRET_KEY), heartbeat_s=0.5, **settings)
    async with open_services(configured, PostgresClock()) as services:
        told: list[tuple[str, str]] = []

        async def notify(event: str, fields: dict[str, str]) -> None:
            told.append((event, fields.get("check", "")))

        services.health._notify = notify
        if environment not in {each.key for each in await services.store.list_environments()}:
            await services.environments.create(ROOT, environment, environment)
        transport = httpx.ASGITransport(create_app(services))
        connection = await asyncpg.connect(database_url)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                token = await services.access.tokens.create_service(ROOT, "test", {ANY_ENVIRONMENT: [Role.ADMIN.value]})
                http.headers["Authorization"] = f"Bearer {token.token}"
                plane = Plane(services, http, environment, connection, told)
                await eventually(lambda: _known(plane, f"publisher {environment}"))
                await plane.green()
                await eventually(lambda: _published(plane, 1))
                yield plane
        finally:
            await connection.close()


@pytest.fixture
async def plane(database_url: str, nats_server: EmbeddedNats, unique_environment: str) -> AsyncIterator[Plane]:
    async with running(database_url, unique_environment, nats_url=nats_server.url) as made:
        yield made


@pytest.fixture
async def client(nats_server: EmbeddedNats) -> AsyncIterator[Client]:
    connected = await nats.connect(nats_server.url)
    yield connected
    await connected.close()


async def present(client: Client, environment: str, instance: str, revision: int) -> None:
    now = int(time.time() * 1000)
    said = Presence(instance, "support", "0.1.0", 1, revision, "LIVE", 0.0, now, applied_at=now)
    await client.publish(f"bot.{environment}.key.{instance}.p", msgspec.json.encode(said))
    await client.flush()


async def test_a_publisher_that_raises_at_every_pass_is_red_and_no_answer_hides_it(
    plane: Plane, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = await plane.post("/safe-mode/activations", CONTAIN)
    first = on["commit"]["revision"]
    assert on["delivery"] == {
        "committed": first,
        "published": first,
        "via": on["delivery"]["via"],
        "applied": 0,
        "expected": 0,
    }
    assert on["delivery"]["via"] in {"log", "heard"}
    await present(client, plane.environment, "i-1", first)
    await eventually(lambda: _live(plane))

    async def broken(_: Mender) -> Position | None:
        raise msgspec.ValidationError("Object missing required field `v`")

    with monkeypatch.context() as patched:
        patched.setattr(Mender, "find_end", broken)
        check = f"publisher {plane.environment}"
        assert "ValidationError" in await plane.red(check)
        lifted = await plane.post(f"/safe-mode/activations/{on['key']}/lift", {"reason": "over"})
        second = lifted["commit"]["revision"]
        assert second == first + 1
        delivery = lifted["delivery"]
        assert (delivery["committed"], delivery["applied"], delivery["expected"]) == (second, 0, 1)
        assert delivery["published"] in {None, first}
        fleet = await plane.fleet()
        assert (fleet["head"], fleet["applied"], fleet["behind"], fleet["lagging"]) == (second, 0, 1, ["i-1"])
        assert fleet["published"] in {None, first}
        assert (await plane.http.get("/readyz")).status_code == 200
        page = (await plane.http.get(f"/e/{plane.environment}/fleet")).text
        assert f"r{second} is committed but not published" in page
        assert "ValidationError" in page
        assert '<a class="chip is-red"' in page
        text = (await plane.http.get("/metrics")).text
        restarts = next(
            line for line in text.splitlines() if line.startswith(f'brownout_loop_restarts_total{{loop="{check}"}}')
        )
        assert float(restarts.rpartition(" ")[2]) >= 1
        await eventually(lambda: _told(plane, "health_failing", check))
    await plane.green()
    await eventually(lambda: _published(plane, second))
    assert plane.told.count(("health_failing", check)) == 1


async def test_a_publisher_that_is_stuck_is_red_too(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    mended = asyncio.Event()
    find_end = Mender.find_end

    async def stuck(mender: Mender) -> Position | None:
        await mended.wait()
        return await find_end(mender)

    monkeypatch.setattr(Mender, "find_end", stuck)
    assert "stuck" in await plane.red(f"publisher {plane.environment}")
    mended.set()
    await plane.green()


async def test_a_loop_that_dies_or_is_stuck_is_red(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dying(_: Expiry) -> None:
        raise ZeroDivisionError

    async def stuck(_: Expiry) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("controlplane.safemode.expiry.POLL_S", 0.2)
    with monkeypatch.context() as patched:
        patched.setattr(Expiry, "tick", dying)
        assert "ZeroDivisionError" in await plane.red("expiry")
    await plane.green()
    with monkeypatch.context() as patched:
        patched.setattr(Expiry, "tick", stuck)
        assert "stuck" in await plane.red("expiry")


async def test_postgres_away_is_red_and_ready_for_emergencies_only(
    tmp_path: Path, nats_server: EmbeddedNats, unique_environment: str
) -> None:
    server = EmbeddedPostgres(_open(tmp_path) / "postgres", durable=False)
    with server:
        database = Database(server.dsn())
        await migrate(database)
        await database.close()
        async with running(server.dsn(), unique_environment, nats_url=nats_server.url) as plane:
            server.stop()
            assert "Postgres does not answer" in await plane.red("postgres")
            assert (await plane.http.get("/readyz")).status_code == 200, "safe mode can be switched over NATS"
            ways = [plane.services.ways.pop() for _ in list(plane.services.ways)]
            assert (await plane.http.get("/readyz")).status_code == 503
            plane.services.ways.extend(ways)
            assert (await plane.http.get("/livez")).status_code == 200
            server.start()
            await plane.green()
            assert (await plane.http.get("/readyz")).status_code == 200


async def test_another_schema_is_red(plane: Plane) -> None:
    version = await plane.database.fetchval("SELECT version_num FROM alembic_version")
    await plane.database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "newer version" in await plane.red("schema")
    await plane.database.execute("UPDATE alembic_version SET version_num = $1", version)
    await plane.green()


async def test_a_signing_key_that_cannot_be_opened_is_red(plane: Plane) -> None:
    await plane.database.execute(
        "INSERT INTO signing_key (environment, kid, position, public, sealed, signed_by, signature, created_at)"
        " SELECT environment, 'foreign', 9, public, public || public, '', '', created_at FROM signing_key"
    )
    kid = await plane.database.fetchval("SELECT signing_kid FROM environment")
    await plane.database.execute("UPDATE environment SET signing_kid = 'foreign'")
    assert plane.environment in await plane.red("signing_keys")
    await plane.database.execute("UPDATE environment SET signing_kid = $1", kid)
    await plane.green()


async def test_telemetry_that_cannot_be_written_is_red(plane: Plane, client: Client) -> None:
    telemetry = Telemetry("i-1", "support")
    telemetry.record(RequestKey("support-reply", "haiku", "small", ""), Report())
    message = telemetry.message()
    assert message is not None
    tables = (
        "SELECT string_agg(c.relname, ',') FROM pg_class c WHERE relname LIKE 'telemetry%' AND relkind IN ('r', 'p')"
    )
    names = await plane.database.fetchval(tables)
    async with plane.database.transaction():
        await plane.database.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
        await client.publish(f"bot.{plane.environment}.key.i-1.m", message)
        await client.flush()
        assert "telemetry" in await plane.red("telemetry")
    await plane.green()


async def test_nats_away_is_red_and_commits_say_that_nobody_has_them(
    database_url: str, tmp_path: Path, unique_environment: str
) -> None:
    with EmbeddedNats(_open(tmp_path) / "nats") as server:
        async with running(database_url, unique_environment, nats_url=server.url) as plane:
            server.stop()
            assert "no connection to NATS" in await plane.red("nats")
            on = await plane.post("/safe-mode/activations", CONTAIN)
            revision = on["commit"]["revision"]
            assert (on["delivery"]["committed"], on["delivery"]["published"]) == (revision, revision - 1)
            assert (await plane.http.get("/readyz")).status_code == 200
            server.start()
            await plane.green()
            await eventually(lambda: _published(plane, revision))


@pytest.fixture(scope="module")
def secrets() -> NatsSecrets:
    return NatsSecrets.generate()


@pytest.fixture
def guarded(tmp_path: Path, secrets: NatsSecrets) -> Iterator[EmbeddedNats]:
    with EmbeddedNats(_open(tmp_path) / "guarded-nats", extra=accounts_config(secrets)) as server:
        yield server


async def test_no_authd_is_red(
    guarded: EmbeddedNats, secrets: NatsSecrets, database_url: str, unique_environment: str
) -> None:
    settings = AuthdSettings(
        database_url=Secret(database_url),
        nats_url=guarded.url,
        nats_issuer_seed=Secret(secrets.issuer_seed),
        nats_authd_password=Secret(secrets.auth_password),
        nats_system_password=Secret(secrets.system_password),
    )

    async def answering() -> "asyncio.Task[None]":
        authd = open_authd(settings, PostgresClock())
        task = asyncio.create_task(authd.run())
        await asyncio.wait_for(authd.ready.wait(), 15)
        return task

    control = {"nats_url": guarded.url, "nats_user": CONTROL_USER, "nats_password": Secret(secrets.app_password)}
    async with running(database_url, unique_environment, **control) as plane:
        assert "authd" not in {check.name for check in plane.services.health.checks()}
        authd = await answering()
        await eventually(lambda: _known(plane, "authd"))
        await plane.green()
        await end(authd)
        assert "no authd" in await plane.red("authd")
        authd = await answering()
        await plane.green()
        await end(authd)


async def test_a_wrong_wall_clock_is_red(database_url: str, nats_server: EmbeddedNats, unique_environment: str) -> None:
    async with running(database_url, unique_environment, nats_url=nats_server.url) as plane:
        clock = plane.services.clock
        assert isinstance(clock, PostgresClock)
        wall, clock._wall = clock._wall, _Off()
        assert "3,600 s ahead of Postgres" in await plane.red("clock")
        clock._wall = wall
        await plane.green()


def _open(folder: Path) -> Path:
    """So that servers under users of their own reach it."""
    folder.chmod(0o755)
    return folder


class _Off:
    def now(self) -> Any:
        from datetime import UTC, datetime, timedelta

        return datetime.now(UTC) + timedelta(hours=1)


async def test_the_answer_to_an_activation_counts_the_instances_that_have_it(plane: Plane, client: Client) -> None:
    for instance in ("i-1", "i-2"):
        await present(client, plane.environment, instance, 0)
    await eventually(lambda: _live(plane, 2))

    async def apply(revision: int, *instances: str) -> None:
        await eventually(lambda: _published(plane, revision))
        for instance in instances:
            await present(client, plane.environment, instance, revision)

    head = (await plane.fleet())["head"]
    applying = asyncio.create_task(apply(head + 1, "i-1", "i-2"))
    on = await plane.post("/safe-mode/activations", CONTAIN)
    await applying
    assert on["delivery"] == {
        "committed": head + 1, "published": head + 1, "via": on["delivery"]["via"], "applied": 2, "expected": 2,
    }  # fmt: skip
    applying = asyncio.create_task(apply(head + 2, "i-1"))
    longer = await plane.post(f"/safe-mode/activations/{on['key']}/extend", {"for_s": 900})
    await applying
    assert (longer["delivery"]["applied"], longer["delivery"]["expected"]) == (1, 2)


async def test_probes_are_never_too_many(database_url: str) -> None:
    from tests.integration.accessing import open_world

    async with open_world(database_url, rates=0.5) as world, world.client() as http:
        seen = [(await http.get("/openapi.json")).status_code for _ in range(3)]
        for path in ("/livez", "/readyz", "/healthz", "/metrics"):
            assert 429 not in [(await http.get(path)).status_code for _ in range(30)], path
        assert seen


async def _live(plane: Plane, count: int = 1) -> bool:
    return bool((await plane.fleet())["live"] == count)


async def _published(plane: Plane, revision: int) -> bool:
    published = (await plane.fleet())["published"]
    return published is not None and published >= revision


async def _told(plane: Plane, event: str, check: str) -> bool:
    return (event, check) in plane.told


async def _known(plane: Plane, check: str) -> bool:
    return check in {each.name for each in plane.services.health.checks()}
