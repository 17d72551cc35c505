"""A cluster of three whose nodes, control plane and SDKs speak TLS with the authority that the deployment made."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from brownout import Brownout
from controlplane.access.authority import authority, certificate
from controlplane.access.natsconfig import NatsSecrets, accounts_config, cluster_config, tls_config
from controlplane.app import open_services
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.processes import free_port
from tests.attack.world import ROOT, settings_for, until
from tests.integration import nats_clients

pytestmark = pytest.mark.anyio


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[list[EmbeddedNats], NatsSecrets, Path]]:
    secrets, now = NatsSecrets.generate(), datetime.now(UTC)
    authority(tmp_path, now)
    routes = [f"localhost:{free_port()}" for _ in range(3)]
    with ExitStack() as stack:
        nodes = []
        for n, route in enumerate(routes):
            folder = tmp_path / f"n{n}"
            certificate(folder, ["localhost", "127.0.0.1"], tmp_path, now)
            between = cluster_config(route, routes, secrets, tls_config(str(folder), verify=True))
            node = EmbeddedNats(
                folder, name=f"n{n}", extra=tls_config(str(folder)) + accounts_config(secrets) + between
            )
            stack.callback(node.kill)
            nodes.append(node.start(wait=False))
        for node in nodes:
            node.wait_healthy()
        yield nodes, secrets, tmp_path / "ca.pem"


async def test_a_commit_reaches_an_sdk_that_believes_the_authority_and_nobody_connects_in_plain(
    encrypted: tuple[list[EmbeddedNats], NatsSecrets, Path], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, secrets, ca = encrypted
    settings = msgspec.structs.replace(settings_for(nodes, secrets, database_url), nats_ca=str(ca))
    async with open_services(settings) as services:
        await services.environments.create(ROOT, "production", "Production")
        key = (await services.access.keys.create(ROOT, "production", "sdk")).key
        monkeypatch.setenv("BROWNOUT_NATS_CA", str(ca))
        sdk = Brownout.connect([n.url.replace("nats://", "tls://") for n in nodes], key=key, environment="production",
                               disk=False)  # fmt: skip
        await until(lambda: sdk.status.sync == "LIVE", 60)
        await asyncio.to_thread(sdk.close)
        secret = key.partition(".")[0]
        for context in (None, ssl.create_default_context()):
            with pytest.raises((OSError, nats_clients.NatsError)):
                await nats_clients.connect(
                    nodes[0].url, token=secret, name="i1", tls=context, allow_reconnect=False, connect_timeout=3
                )
