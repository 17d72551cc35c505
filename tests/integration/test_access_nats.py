"""The real nats-server, the real authd: who gets in, what they may touch, how they are thrown out."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from sqlalchemy import text

from brownout.wire import Subjects, fingerprint
from controlplane.access.actor import system_actor
from controlplane.access.authd import Authd
from controlplane.access.natsconfig import CONTROL_USER, NatsSecrets, accounts_config, cluster_config, with_credentials
from controlplane.access.queries import credentials
from controlplane.access.responder import AuthdSettings, open_authd
from controlplane.access.service import Access, build_access
from controlplane.configuration.store import SigningKeys, Store
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.processes import free_port
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.settings import Secret, Settings
from tests.integration import nats_clients
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio
ROOT = system_actor("system:test")


@pytest.fixture(scope="module")
def secrets() -> NatsSecrets:
    return NatsSecrets.generate()


@pytest.fixture(scope="module")
def guarded(servers_folder: Path, secrets: NatsSecrets):
    with EmbeddedNats(servers_folder / "guarded-nats", extra=accounts_config(secrets)) as server:
        yield server


@pytest.fixture
def cluster(tmp_path: Path, secrets: NatsSecrets) -> Iterator[list[EmbeddedNats]]:
    routes = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    configs = [accounts_config(secrets) + cluster_config(route, routes, secrets) for route in routes]
    nodes = [EmbeddedNats(tmp_path / f"n{n}", name=f"n{n}", extra=config) for n, config in enumerate(configs)]
    try:
        for node in nodes:
            node.start(wait=False)
        for node in nodes:
            node.wait_healthy()
        yield nodes
    finally:
        for node in nodes:
            node.kill()


@pytest.fixture
async def access(database: Database, store: Store, signing_keys: SigningKeys, database_url: str) -> Access:
    await store.create_environment("staging", "Staging")
    settings = Settings(database_url=Secret(database_url), secret_key=Secret(SECRET_KEY), nats_url="")

    async def nobody(event: str, fields: dict[str, str]) -> None:
        """Hears no alerts."""

    return build_access(settings, database, SystemClock(), signing_keys, notify=nobody)


def responder(nats_url: str, secrets: NatsSecrets, url: str, copy: Path) -> Authd:
    return open_authd(
        AuthdSettings(
            database_url=Secret(url),
            nats_url=nats_url,
            nats_issuer_seed=Secret(secrets.issuer_seed),
            nats_authd_password=Secret(secrets.auth_password),
            nats_system_password=Secret(secrets.system_password),
            authd_copy=str(copy),
        ),
        SystemClock(),
    )


@asynccontextmanager
async def answering(nats_url: str, secrets: NatsSecrets, url: str, copy: Path) -> AsyncIterator[Authd]:
    authd = responder(nats_url, secrets, url, copy)
    running = asyncio.create_task(authd.run())
    try:
        await asyncio.wait_for(authd.ready.wait(), 15)
        yield authd
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture
async def authd(
    guarded: EmbeddedNats, secrets: NatsSecrets, access: Access, database_url: str, tmp_path: Path
) -> AsyncIterator[Authd]:
    async with answering(guarded.url, secrets, database_url, tmp_path / "keys.json") as running:
        yield running


async def key_for(access: Access, environment: str) -> tuple[str, str]:
    """(key id, the secret part that NATS is shown)."""
    made = await access.keys.create(ROOT, environment, "service")
    return made.id, made.key.partition(".")[0]


async def connect(
    server: EmbeddedNats,
    secret: str,
    environment: str,
    name: str,
    heard: list[str] | None = None,
    *,
    timeout_s: int = 20,
) -> Client:
    async def on_error(error: Exception) -> None:
        if heard is not None:
            heard.append(str(error).lower())

    return await nats_clients.connect(
        server.url, token=secret, name=name, inbox_prefix=Subjects(environment).inbox(name), error_cb=on_error,
        allow_reconnect=False, connect_timeout=timeout_s,
    )  # fmt: skip


async def _ignore(_error: Exception) -> None:
    """Being thrown out is what is waited for."""


async def enters(server: EmbeddedNats, secret: str, environment: str = "production", name: str = "i1") -> bool:
    """Asks until the answer is yes, for a while: a new key is heard of by notification."""
    for _ in range(40):
        try:
            await (await connect(server, secret, environment, name)).close()
        except NatsError:
            await asyncio.sleep(0.05)
        else:
            return True
    return False


async def test_a_key_opens_its_environment_and_nothing_of_another(
    authd: Authd, access: Access, guarded: EmbeddedNats, secrets: NatsSecrets
) -> None:
    control = await nats.connect(with_credentials(guarded.url, CONTROL_USER, secrets.app_password))
    jetstream = control.jetstream()
    for environment in ("production", "staging"):
        subjects = Subjects(environment)
        await jetstream.add_stream(name=subjects.log_stream, subjects=[subjects.log_write], allow_direct=True)
        await jetstream.publish(subjects.log_write, f"secret of {environment}".encode())
    _, secret = await key_for(access, "staging")
    assert await enters(guarded, secret, "staging")
    heard: list[str] = []
    client = await connect(guarded, secret, "staging", "i1", heard)

    async def denied(act: Callable[[], Awaitable[object]]) -> bool:
        heard.clear()
        await act()
        await client.flush()  # the refusal comes before the pong; its callback soon after
        for _ in range(20):
            if any("permissions violation" in each for each in heard):
                return True
            await asyncio.sleep(0.005)
        return False

    mine, theirs, key = Subjects("staging"), Subjects("production"), fingerprint(secret)
    for subject in (
        theirs.log, theirs.heartbeat, "bo.>", ">", "*.>", "bow.production.>", "bow.staging.>", "bot.>", "$SYS.>", "$JS.>",
        theirs.inbox("i1") + ".>", mine.inbox("i2") + ".>", "_INBOX.>", "_INBOX_staging.>", "_INBOX_production.>",
    ):  # fmt: skip
        assert await denied(lambda subject=subject: client.subscribe(subject)), subject
    assert not await denied(lambda: client.subscribe(mine.log))
    for subject in (
        theirs.log, mine.log, mine.heartbeat, mine.log_write, theirs.log_write, mine.manifest, theirs.presence(key, "i1"),
        mine.presence(key, "i2"), mine.presence("0" * 16, "i1"), mine.telemetry("0" * 16, "i1"), f"$JS.API.DIRECT.GET.{theirs.log_stream}", f"$JS.API.STREAM.MSG.GET.{mine.log_stream}",
        f"$JS.API.STREAM.INFO.{mine.log_stream}", f"$JS.API.STREAM.DELETE.{theirs.log_stream}",
        f"$JS.API.CONSUMER.CREATE.{mine.log_stream}", "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.AUTH",
    ):  # fmt: skip
        assert await denied(lambda subject=subject: client.publish(subject, b"{}")), subject
    assert not await denied(lambda: client.publish(mine.presence(key, "i1"), b"{}"))
    fetched = await client.request(f"$JS.API.DIRECT.GET.{mine.log_stream}", b'{"seq":1}', timeout=5)
    assert fetched.data == b"secret of staging"
    with pytest.raises((NatsTimeoutError, NatsError)):
        await client.request(f"$JS.API.DIRECT.GET.{theirs.log_stream}", b'{"seq":1}', timeout=0.3)
    await client.close()
    for environment in ("production", "staging"):
        await jetstream.delete_stream(Subjects(environment).log_stream)
    await control.close()


@pytest.mark.parametrize("name", ["", "*", ">", "a.b", "a b", "i" * 65, "i1.>"])
async def test_a_name_that_could_widen_a_subject_lets_nobody_in(
    authd: Authd, access: Access, guarded: EmbeddedNats, name: str
) -> None:
    _, secret = await key_for(access, "production")
    assert await enters(guarded, secret)
    with pytest.raises(NatsError):
        await nats_clients.connect(guarded.url, token=secret, name=name, allow_reconnect=False)


async def test_what_the_database_holds_of_a_key_opens_nothing(
    authd: Authd, access: Access, guarded: EmbeddedNats, database: Database
) -> None:
    _, secret = await key_for(access, "production")
    assert await enters(guarded, secret)
    async with database.reading() as connection:
        row = (await connection.execute(text("SELECT id, digest, hint FROM sdk_key"))).one()
    for stolen in (*row, "bo_sdk_" + row.digest[:49], secret[:-1]):
        with pytest.raises(NatsError):
            await nats_clients.connect(guarded.url, token=stolen, name="i1", allow_reconnect=False)


async def test_a_revoked_key_is_thrown_out_and_stays_out(authd: Authd, access: Access, guarded: EmbeddedNats) -> None:
    key, secret = await key_for(access, "production")
    _, kept = await key_for(access, "production")
    assert await enters(guarded, secret)
    assert await enters(guarded, kept)
    out = asyncio.Event()

    async def thrown_out() -> None:
        out.set()

    await nats.connect(
        guarded.url, token=secret, name="i1", allow_reconnect=False, closed_cb=thrown_out, error_cb=_ignore
    )
    bystander = await connect(guarded, kept, "production", "i2")
    await access.keys.revoke(ROOT, "production", key)
    await asyncio.wait_for(out.wait(), 5)
    with pytest.raises(NatsError):
        await connect(guarded, secret, "production", "i1")
    assert bystander.is_connected
    await bystander.close()


async def last_used(database: Database, key: str) -> datetime | None:
    async with database.reading() as connection:
        row = await credentials.key(connection, key)
    assert row is not None
    return row.used_at


async def until_used(database: Database, key: str) -> datetime:
    for _ in range(200):
        if (found := await last_used(database, key)) is not None:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("nobody noted it")


async def test_it_is_known_when_a_key_was_last_used_to_connect(
    authd: Authd, access: Access, guarded: EmbeddedNats, database: Database
) -> None:
    before = SystemClock().now()
    key, secret = await key_for(access, "production")
    idle, _ = await key_for(access, "production")
    assert await enters(guarded, secret)
    async with database.reading() as connection:
        version = (await connection.execute(text("SELECT version FROM sdk_key_version"))).scalar()
    assert before - timedelta(seconds=1) < await until_used(database, key) <= SystemClock().now()
    assert await last_used(database, idle) is None
    async with database.reading() as connection:
        still = (await connection.execute(text("SELECT version FROM sdk_key_version"))).scalar()
    assert still == version, "noting a use makes nobody read all keys again"


async def test_a_key_that_holds_a_connection_is_in_use_however_long_ago_it_connected(
    authd: Authd,
    access: Access,
    guarded: EmbeddedNats,
    secrets: NatsSecrets,
    database: Database,
    database_url: str,
    tmp_path: Path,
) -> None:
    key, secret = await key_for(access, "production")
    assert await enters(guarded, secret)
    client = await connect(guarded, secret, "production", "i1")
    await until_used(database, key)
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM sdk_key_use"))
    async with answering(guarded.url, secrets, database_url, tmp_path / "second.json"):  # nobody asks it anything
        await until_used(database, key)
    await client.close()


async def test_a_thousand_reconnect_at_once_with_the_database_gone(
    access: Access, guarded: EmbeddedNats, secrets: NatsSecrets, database_url: str, tmp_path: Path
) -> None:
    """The responder starts without a database, too: from its copy on disk."""
    copy = tmp_path / "keys.json"
    _, secret = await key_for(access, "production")
    async with answering(guarded.url, secrets, database_url, copy):
        assert await enters(guarded, secret)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert secret not in copy.read_text()
    nowhere = "postgresql://nobody:nothing@127.0.0.1:9/nowhere"
    async with answering(guarded.url, secrets, nowhere, copy):
        clients = await asyncio.gather(*(connect(guarded, secret, "production", f"i{n}") for n in range(1000)))
        dropped = [client.last_error for client in clients if not client.is_connected]
        assert dropped == []
        assert await enters(guarded, secret)
        await asyncio.gather(*(client.close() for client in clients))


async def test_two_responders_share_the_questions_and_one_is_enough(
    authd: Authd, access: Access, guarded: EmbeddedNats, secrets: NatsSecrets, database_url: str, tmp_path: Path
) -> None:
    _, secret = await key_for(access, "production")
    async with answering(guarded.url, secrets, database_url, tmp_path / "second.json") as second:
        assert await enters(guarded, secret)
        for n in range(40):
            await (await connect(guarded, secret, "production", f"i{n}")).close()
        assert authd.answered > 0
        assert second.answered > 0
    assert await enters(guarded, secret)


async def test_a_responder_that_is_refused_leaves_no_socket_open(
    access: Access, secrets: NatsSecrets, database_url: str, tmp_path: Path
) -> None:
    """Hung up on at once: not when the garbage collector next comes by, which this test holds off."""
    hung_up: asyncio.Queue[None] = asyncio.Queue()
    refusals: list[asyncio.Task[None]] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO {\"max_payload\":1048576}\r\n-ERR 'Authorization Violation'\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        hung_up.put_nowait(None)

    def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        refusals.append(asyncio.create_task(refuse(reader, writer)))

    gc.disable()
    server = await asyncio.start_server(met, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    running = asyncio.create_task(
        responder(f"nats://127.0.0.1:{port}", secrets, database_url, tmp_path / "keys.json").run()
    )
    try:
        for _ in range(3):
            await asyncio.wait_for(hung_up.get(), 10)
    finally:
        gc.enable()
        running.cancel()
        await asyncio.wait([running])
        server.close()
        await asyncio.wait(refusals, timeout=10)


@asynccontextmanager
async def two_authds(nodes: list[EmbeddedNats], secrets: NatsSecrets, url: str, folder: Path) -> AsyncIterator[None]:
    """As in compose.yaml: each connected to every node."""
    urls = ",".join(node.url for node in nodes)
    async with AsyncExitStack() as stack:
        for number in range(2):
            await stack.enter_async_context(answering(urls, secrets, url, folder / f"keys-{number}.json"))
        yield


async def test_signing_in_by_the_hundred_leaves_every_route_of_a_cluster_open(
    cluster: list[EmbeddedNats], secrets: NatsSecrets, access: Access, database_url: str, tmp_path: Path
) -> None:
    """nats-server stops reading from whoever brings a third answer to one question (docs/adr/0034)."""
    _, secret = await key_for(access, "production")
    async with two_authds(cluster, secrets, database_url, tmp_path), AsyncExitStack() as stack:
        for node in cluster:
            assert await enters(node, secret)
        names = [f"sdk-{n}" for n in range(240)]
        storm = await asyncio.gather(
            *(connect(cluster[n % 3], secret, "production", name) for n, name in enumerate(names))
        )
        for client in storm:
            await client.close()
        heard: set[tuple[int, str]] = set()
        clients = []
        for number, node in enumerate(cluster):
            client = await nats.connect(with_credentials(node.url, CONTROL_USER, secrets.app_password))
            stack.push_async_callback(client.close)

            async def hear(message: Msg, number: int = number) -> None:
                heard.add((number, message.subject))

            await client.subscribe("from.*", cb=hear)
            clients.append(client)
        everything = {(to, f"from.{origin}") for to in range(3) for origin in range(3)}
        deadline = asyncio.get_running_loop().time() + 5
        while heard < everything and asyncio.get_running_loop().time() < deadline:
            for number, client in enumerate(clients):
                await client.publish(f"from.{number}")
            await asyncio.sleep(0.05)
        assert heard == everything


async def test_a_node_that_hangs_keeps_nobody_from_signing_in_at_the_others(
    cluster: list[EmbeddedNats], secrets: NatsSecrets, access: Access, database_url: str, tmp_path: Path
) -> None:
    """None waits longer than an SDK does, which is a hundred times what it takes."""
    _, secret = await key_for(access, "production")
    async with two_authds(cluster, secrets, database_url, tmp_path):
        for node in cluster:
            assert await enters(node, secret)
        for hanging in cluster:
            others = [node for node in cluster if node is not hanging]
            os.kill(hanging.pid, signal.SIGSTOP)
            try:
                clients = await asyncio.gather(
                    *(connect(others[n % 2], secret, "production", f"sdk-{n}", timeout_s=2) for n in range(20))
                )
                for client in clients:
                    await client.close()
            finally:
                os.kill(hanging.pid, signal.SIGCONT)
