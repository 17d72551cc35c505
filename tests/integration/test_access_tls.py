"""TLS to NATS and Postgres, with an authority made for the test; a certificate of another authority is refused."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import nats
import pytest
import trustme
from sqlalchemy import text

from controlplane.access.natsconfig import CONTROL_USER, NatsSecrets, accounts_config
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.errors import UnavailableError
from controlplane.kit.database import Database
from controlplane.kit.link import Link
from controlplane.kit.tls import client_tls
from tests.integration import nats_clients
from tests.support import connected

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def certificates(servers_folder: Path) -> Path:
    """ca.pem, other.pem (another authority), server.pem and server.key for localhost and 127.0.0.1."""
    folder = servers_folder / "certificates"
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "server.key")
    (folder / "server.pem").write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    (folder / "server.key").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def tls_nats(servers_folder: Path, certificates: Path) -> Iterator[tuple[EmbeddedNats, NatsSecrets]]:
    secrets = NatsSecrets.generate()
    tls = f'tls {{ cert_file: "{certificates / "server.pem"}", key_file: "{certificates / "server.key"}" }}'
    with EmbeddedNats(servers_folder / "tls-nats", extra=accounts_config(secrets) + tls) as server:
        yield server, secrets


async def test_the_control_plane_speaks_tls_with_nats_and_only_with_the_right_one(
    tls_nats: tuple[EmbeddedNats, NatsSecrets], certificates: Path
) -> None:
    server, secrets = tls_nats
    link = Link(
        [server.url], user=CONTROL_USER, password=secrets.app_password, tls=client_tls(str(certificates / "ca.pem"))
    )
    running = asyncio.create_task(link.run())
    await connected(link)
    running.cancel()
    await asyncio.wait([running])
    with pytest.raises((OSError, nats.errors.Error)):
        await nats_clients.connect(
            server.url, user=CONTROL_USER, password=secrets.app_password, allow_reconnect=False,
            tls=client_tls(str(certificates / "other.pem")), max_reconnect_attempts=0, connect_timeout=2,
        )  # fmt: skip


@pytest.fixture
async def tls_postgres(postgres: EmbeddedPostgres, certificates: Path) -> AsyncIterator[str]:
    """The wheel's Postgres is built without TLS: this stands before it, as a pooler would. The URL's port is its."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")

    async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(8) != b"\x00\x00\x00\x08\x04\xd2\x16/":  # SSLRequest
                writer.close()
                return
            writer.write(b"S")
            await writer.start_tls(context)
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", postgres.port)
            await asyncio.gather(pipe(reader, up_writer), pipe(up_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield postgres.dsn().replace(f":{postgres.port}/", f":{server.sockets[0].getsockname()[1]}/")
    server.close()


@pytest.mark.parametrize(
    ("query", "connects"),
    [
        ("?sslmode=verify-full&sslrootcert={ca}/ca.pem", True),
        ("?sslmode=verify-ca&sslrootcert={ca}/ca.pem", True),
        ("?sslmode=require", True),
        ("?sslmode=verify-full&sslrootcert={ca}/other.pem", False),
        ("?sslmode=require&sslrootcert={ca}/other.pem", False),
        ("?sslmode=disable", False),
    ],
)
async def test_postgres_is_believed_as_libpq_would(
    tls_postgres: str, certificates: Path, query: str, connects: bool
) -> None:
    database = Database(tls_postgres + query.format(ca=certificates), pool_size=1)
    try:
        if connects:
            async with database.reading() as connection:
                assert (await connection.execute(text("SELECT 1"))).scalar() == 1
        else:
            with pytest.raises((UnavailableError, asyncpg.PostgresError)):
                async with database.reading():
                    pytest.fail("connected")
    finally:
        await database.close()
