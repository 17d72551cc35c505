"""One server, and a cluster of three, for all attacks; a control plane of its own for each."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controlplane.access.natsconfig import NatsSecrets
from controlplane.embedded.nats import EmbeddedNats
from tests.attack.world import DIED, World, nodes_in, world_on


@pytest.fixture(scope="package")
def secrets() -> NatsSecrets:
    return NatsSecrets.generate()


@pytest.fixture(scope="package")
def one(servers_folder: Path, secrets: NatsSecrets) -> Iterator[list[EmbeddedNats]]:
    with nodes_in(servers_folder / "attacked-one", secrets, 1) as nodes:
        yield nodes


@pytest.fixture(scope="package")
def three(servers_folder: Path, secrets: NatsSecrets) -> Iterator[list[EmbeddedNats]]:
    with nodes_in(servers_folder / "attacked-three", secrets, 3) as nodes:
        yield nodes


@pytest.fixture(params=["one", "three"])
def nodes(request: pytest.FixtureRequest) -> list[EmbeddedNats]:
    found: list[EmbeddedNats] = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def world(nodes: list[EmbeddedNats], secrets: NatsSecrets, database_url: str) -> AsyncIterator[World]:
    """Whatever is done to it, nothing in it may die."""
    with capture_logs() as told:
        async with world_on(nodes, secrets, database_url) as made:
            yield made
    assert not [line for line in told if line["event"] in DIED]
