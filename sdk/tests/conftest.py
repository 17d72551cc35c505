"""Real servers for the SDK's own tests; nothing of the control plane."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from sdk.tests.history import History
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess

settings.register_profile("brownout", deadline=None)  # a busy machine is no failure
settings.load_profile("brownout")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsProcess]:
    """One server for every test that leaves it alone."""
    server = NatsProcess(tmp_path_factory.mktemp("nats")).start()
    yield server
    server.stop()


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[NatsProcess]:
    """A server to stop, freeze and wipe."""
    server = NatsProcess(tmp_path / "nats").start()
    yield server
    server.stop(kill=True)


@pytest.fixture
def history() -> History:
    """Three revisions of an environment of its own: `first` is off, `second` and `third` are on."""
    made = History(f"env-{uuid4().hex[:12]}")
    made.set_flag("first", on=False)
    made.set_flag("second", on=True)
    made.set_flag("third", on=True)
    return made


@pytest.fixture
def publisher(shared_nats: NatsProcess, history: History) -> Iterator[LogPublisher]:
    with LogPublisher(shared_nats.url, history) as running:
        yield running
