"""Real servers for every test: one Postgres a worker (a database a test), one NATS a worker."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="brownout-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(servers_folder: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres of this worker's own; without fsync, which is not what these tests are about."""
    with EmbeddedPostgres(servers_folder / "postgres", durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def nats_server(servers_folder: Path) -> Iterator[EmbeddedNats]:
    """A NATS of this worker's own. Tests share it: name environments with `unique_environment`."""
    with EmbeddedNats(servers_folder / "nats") as server:
        yield server


@pytest.fixture
def unique_environment() -> str:
    return f"env-{uuid4().hex[:12]}"


@pytest.fixture
async def empty_database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The libpq URL of a database nobody has migrated."""
    name = f"t{uuid4().hex[:12]}"
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute(f"CREATE DATABASE {name}")
    yield postgres.dsn(name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()
