"""Real servers for every test: one Postgres a worker (a database a test), one NATS a worker."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import settings

from controlplane.configuration.store import SigningKeys, Store
from controlplane.configuration.store.migrate import migrate
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from tests.support import SECRET_KEY

settings.register_profile("brownout", deadline=None)  # a busy machine is no failure
settings.load_profile("brownout")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", choices=("short", "long"), default="short", help="how long the chaos tests go on")
    parser.addoption("--fuzz", type=int, default=0, help="cases an operation, credential and way of making them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fuzz"):
        for item in items:
            item.add_marker(pytest.mark.timeout(0), append=False)


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


@pytest.fixture(scope="session")
async def template_database(postgres: EmbeddedPostgres) -> str:
    """The name of a database that went through every migration: each test starts from a copy."""
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute("CREATE DATABASE migrated")
    await connection.close()
    database = Database(postgres.dsn("migrated"))
    await migrate(database)
    await database.close()
    return "migrated"


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres, template_database: str) -> AsyncIterator[str]:
    """The libpq URL of this test's own migrated database."""
    name = f"t{uuid4().hex[:12]}"
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield postgres.dsn(name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture(scope="module")
async def module_database_url(postgres: EmbeddedPostgres, template_database: str) -> AsyncIterator[str]:
    """The libpq URL of a migrated database that the tests of a module share."""
    name = f"t{uuid4().hex[:12]}"
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield postgres.dsn(name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def signing_keys(database: Database) -> SigningKeys:
    return SigningKeys(database, SystemClock(), SECRET_KEY)


@pytest.fixture
async def store(database: Database, signing_keys: SigningKeys) -> Store:
    """A store with one empty environment, `production`."""
    opened = Store(database, SystemClock(), signing_keys)
    await opened.create_environment("production", "Production")
    return opened


@pytest.fixture
def bare_store(database: Database, signing_keys: SigningKeys) -> Store:
    """A store without any environment, for tests that share the NATS server."""
    return Store(database, SystemClock(), signing_keys)
