"""A control plane without sockets: real services on a real database, a clock that tests move, clients by role."""

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from argon2 import PasswordHasher
from litestar import Litestar

from controlplane.access.actor import Actor, system_actor
from controlplane.access.opening import open_access, open_sso
from controlplane.access.passwords import Passwords
from controlplane.access.service import Access
from controlplane.app import create_app, open_services
from controlplane.services import Services
from controlplane.settings import Secret, Settings
from tests.support import SECRET_KEY

ROOT = system_actor("system:test")
PASSWORD = "a long enough password"
URL = "https://brownout.example"


class MovableClock:
    def __init__(self) -> None:
        self.instant = datetime.now(UTC)

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    def move(self, by: timedelta) -> None:
        self.instant += by


class World:
    """`client()` sends as nobody; `bearer(token)` as its holder; both keep their cookies."""

    def __init__(self, services: Services, app: Litestar, clock: MovableClock) -> None:
        self.services = services
        self.app = app
        self.clock = clock
        self.tokens: dict[str, str] = {}
        """Made on first use, by role."""
        self.alerts: list[tuple[str, dict[str, str]]] = []
        """What people were told of access, oldest first."""

    @property
    def access(self) -> Access:
        return self.services.access

    def client(self, token: str = "", address: str = "198.51.100.7") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(address, 4711))  # type: ignore[arg-type]
        return httpx.AsyncClient(transport=transport, base_url=URL, headers=headers)

    async def token(self, grants: Mapping[str, list[str]], name: str = "machine") -> str:
        return (await self.access.tokens.create_service(ROOT, name, grants, sensitive=True)).token

    async def person(self, email: str, grants: Mapping[str, list[str]]) -> Actor:
        """Somebody with a password, as a session of theirs acts."""
        invited = await self.access.people.invite(ROOT, email, email.partition("@")[0], grants)
        from controlplane.access.sessions import Origin

        signed_in = await self.access.sign_in.with_link(invited.secret, PASSWORD, Origin("198.51.100.7"))
        actor = await self.access.authenticator.by_session(signed_in.secret, "198.51.100.7")
        assert actor is not None
        return actor


@asynccontextmanager
async def open_world(
    database_url: str, *environments: str, rates: float = 1e6, pool: int = 5, **settings: Any
) -> AsyncIterator[World]:
    clock = MovableClock()
    given: dict[str, Any] = {"secret_key": Secret(SECRET_KEY), **settings}
    configured = Settings(
        database_url=Secret(database_url),
        nats_url="nats://127.0.0.1:9",
        public_url=URL,
        requests_per_principal_s=rates,
        requests_per_address_s=rates,
        database_pool=pool,
        **given,
    )
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    async with open_services(configured, clock) as opened:
        alerts: list[tuple[str, dict[str, str]]] = []

        async def tell(event: str, fields: dict[str, str], connection: object = None) -> None:
            alerts.append((event, fields))

        apart = dataclasses.replace(opened, notify=tell, monotonic=clock.monotonic, work=[], asking=[])
        access = await open_access(apart, passwords=quick)
        sso = open_sso(apart, access)
        services = dataclasses.replace(opened, access=access, sso=sso)
        for environment in environments or ("production", "staging"):
            if environment in {known.key for known in await services.store.list_environments()}:
                continue
            await services.environments.create(ROOT, environment, environment)
        world = World(services, create_app(services), clock)
        world.alerts = alerts
        yield world
