"""The whole product with SDKs on hosts whose clocks are wrong: Postgres, NATS, a control plane and its heartbeats."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from brownout import Brownout, State
from brownout._sync import engine
from brownout._sync.clock import SignedTime, wall_ms
from brownout.wire import Operation
from controlplane.access.actor import system_actor
from controlplane.app import open_services
from controlplane.embedded.nats import EmbeddedNats
from controlplane.safemode.request import ActivationRequest
from controlplane.settings import Secret, Settings
from sdk.tests.waiting import PATIENCE_S
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio
ROOT = system_actor("system:test")
ERRORS_S = (3_600, -3_600, 86_400, -86_400)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_half_an_hour_of_safe_mode_applies_on_every_host(
    database_url: str, nats_server: EmbeddedNats, unique_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        database_url=Secret(database_url), secret_key=Secret(SECRET_KEY), nats_url=nats_server.url, heartbeat_s=0.5
    )
    async with open_services(settings) as services:
        await services.environments.create(ROOT, unique_environment, unique_environment)
        key = (await services.access.keys.create(ROOT, unique_environment, "clocks")).key
        profile = Operation("put", "safe_mode_profile", "contain", msgspec.Raw(b'{"max_attempts":1}'))
        await services.changes.commit(ROOT, unique_environment, [profile], "contain")
        clients = []
        for error_s in ERRORS_S:
            clock = SignedTime(wall_ms=lambda error_s=error_s: wall_ms() + error_s * 1000)  # type: ignore[misc]
            monkeypatch.setattr(engine, "SignedTime", lambda clock=clock: clock)
            clients.append(Brownout.connect(nats_server.url, key=key, environment=unique_environment, disk=False))
        try:
            await until(lambda: all(client.status.state is State.READY for client in clients))
            asked = ActivationRequest(profile="contain", reason="tools go wrong", for_s=1_800)
            switched = await services.safe_mode.activate(ROOT, unique_environment, asked)
            await until(lambda: all(client.status.revision == switched.commit.revision for client in clients))
            assert [client.held.safe_mode for client in clients] == [("contain",)] * len(clients)
            await until(lambda: all(_told(client, e) for client, e in zip(clients, ERRORS_S, strict=True)))
            assert [client.held.safe_mode for client in clients] == [("contain",)] * len(clients)
        finally:
            for client in clients:
                await asyncio.to_thread(client.close)


def _told(client: Brownout, error_s: float) -> bool:
    skew_s = client.status.clock_skew_s
    return skew_s is not None and abs(skew_s - error_s) < 5
