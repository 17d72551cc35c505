"""A whole control plane on real servers, for those who attack it with a key of another environment."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from brownout import Brownout, wire
from controlplane.access.actor import system_actor
from controlplane.access.natsconfig import CONTROL_USER, NatsSecrets, accounts_config, cluster_config
from controlplane.app import open_services
from controlplane.budgets.counters import PERIODS, stream_of
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.processes import free_port
from controlplane.services import Services
from controlplane.settings import Secret, Settings
from tests.integration import nats_clients
from tests.support import SECRET_KEY

ROOT = system_actor("system:test")
PRODUCTION, STAGING = ENVIRONMENTS = ("production", "staging")
DIED = frozenset({"background work died", "item_set_aside"})
"""What the log says when something that should run for ever did not."""


@contextmanager
def nodes_in(folder: Path, secrets: NatsSecrets, count: int) -> Iterator[list[EmbeddedNats]]:
    """One nats-server, or a cluster."""
    accounts = accounts_config(secrets)
    routes = [f"127.0.0.1:{free_port()}" for _ in range(count)]
    clusters = [cluster_config(route, routes, secrets) if count > 1 else "" for route in routes]
    nodes = [EmbeddedNats(folder / f"n{n}", name=f"n{n}", extra=accounts + each) for n, each in enumerate(clusters)]
    try:
        for node in nodes:
            node.start(wait=False)
        for node in nodes:
            node.wait_healthy()
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def settings_for(nodes: Sequence[EmbeddedNats], secrets: NatsSecrets, database_url: str) -> Settings:
    return Settings(
        database_url=Secret(database_url),
        secret_key=Secret(SECRET_KEY),
        nats_url=",".join(node.url for node in nodes),
        nats_user=CONTROL_USER,
        nats_password=Secret(secrets.app_password),
        nats_issuer_seed=Secret(secrets.issuer_seed),
        nats_authd_password=Secret(secrets.auth_password),
        nats_system_password=Secret(secrets.system_password),
        nats_replicas=len(nodes),
        heartbeat_s=0.5,
    )


class World:
    def __init__(self, nodes: Sequence[EmbeddedNats], secrets: NatsSecrets, services: Services) -> None:
        self.nodes, self.secrets, self.services = nodes, secrets, services
        self.keys: dict[str, str] = {}
        self.sdks: dict[str, Brownout] = {}
        self._number = 0

    async def enter(self, environment: str, name: str, *, node: int = 0, uses: str = "") -> "Raw":
        """A raw client with the key of `environment` (or the one named `uses`) and nothing else."""
        raw = Raw(environment, name, self.keys[uses or environment])
        await until(lambda: raw.open(self.nodes[node].url))
        return raw

    async def insider(self) -> Client:
        """The control plane's own account, to look with."""
        return await nats_clients.connect(
            self.nodes[0].url, user=CONTROL_USER, password=self.secrets.app_password, allow_reconnect=False
        )

    async def commit(self, environment: str) -> int:
        self._number += 1
        spec = msgspec.Raw(msgspec.json.encode({"include": [f"u-{self._number}"]}))
        operation = wire.Operation("put", "cohort", "beta", spec)
        return (await self.services.changes.commit(ROOT, environment, [operation], "change")).revision

    async def streams(self) -> dict[str, Any]:
        """Every stream as the server has it: when it was made, how it is set, where it ends."""
        client = await self.insider()
        found: dict[str, Any] = {}
        try:
            for environment in ENVIRONMENTS:
                subjects = wire.Subjects(environment)
                for stream in (subjects.log_stream, subjects.snapshot_stream):
                    answer = await client.request(
                        f"$JS.API.STREAM.INFO.{stream}", b'{"subjects_filter":">"}', timeout=5
                    )
                    info = msgspec.json.decode(answer.data)
                    found[stream] = (info["created"], info["config"], info["state"]["last_seq"],
                                     sorted(info["state"].get("subjects") or {}))  # fmt: skip
        finally:
            await client.close()
        return found

    async def must_be_sound(self) -> None:
        """Every environment takes a commit, its SDK hears it, and nobody is behind."""
        for environment in ENVIRONMENTS:
            revision = await self.commit(environment)
            sdk = self.sdks[environment]
            await until(lambda sdk=sdk, revision=revision: sdk.status.revision == revision)
            state = await self.services.store.state(environment)
            assert {(ref.kind, ref.key): spec for ref, spec in sdk._compiled.resources.items()} == state.served
        await until(lambda: all(each.lag == 0 and not each.degraded for each in self.services.publisher.health()))


class Raw:
    """A NATS client that keeps to no rules. `refusals` are the server's; `heard` is all that reached it."""

    def __init__(self, environment: str, name: str, key: str) -> None:
        self.environment, self.name = environment, name
        self.secret = key.partition(".")[0]
        self.fingerprint = wire.fingerprint(self.secret)
        self.subjects = wire.Subjects(environment)
        self.refusals: list[str] = []
        self.heard: list[Msg] = []
        self.client = Client()

    async def open(self, url: str) -> bool:
        try:
            self.client = await nats_clients.connect(
                url, token=self.secret, name=self.name, inbox_prefix=self.subjects.inbox(self.name),
                allow_reconnect=False, error_cb=self._on_error, connect_timeout=5,
            )  # fmt: skip
        except NatsError:
            return False
        return True

    async def listen(self, *subjects: str, queue: str = "") -> None:
        for subject in subjects:
            await self.client.subscribe(subject, queue=queue, cb=self._on_message)
        await self.flush()

    async def publish(self, subject: str, payload: bytes = b"", **options: Any) -> None:
        await self.client.publish(subject, payload, **options)

    async def flush(self) -> None:
        for _ in range(2):  # nats-py's first ping overtakes what waits to be sent
            await self.client.flush(10)

    async def close(self) -> None:
        await self.client.close()

    async def _on_error(self, error: Exception) -> None:
        self.refusals.append(str(error).lower())

    async def _on_message(self, message: Msg) -> None:
        self.heard.append(message)


@asynccontextmanager
async def world_on(nodes: Sequence[EmbeddedNats], secrets: NatsSecrets, database_url: str) -> AsyncIterator[World]:
    """A control plane with two environments, a key and an SDK that has caught up for each."""
    async with AsyncExitStack() as stack:
        await _wipe(nodes, secrets)
        services = await stack.enter_async_context(open_services(settings_for(nodes, secrets, database_url)))
        world = World(nodes, secrets, services)
        for environment in ENVIRONMENTS:
            await services.environments.create(ROOT, environment, environment)
            world.keys[environment] = (await services.access.keys.create(ROOT, environment, "sdk")).key
            await world.commit(environment)
            sdk = Brownout.connect(
                [node.url for node in nodes],
                key=world.keys[environment],
                environment=environment,
                service="s",
                disk=False,
            )
            stack.push_async_callback(asyncio.to_thread, sdk.close)
            world.sdks[environment] = sdk
        for sdk in world.sdks.values():
            await until(lambda sdk=sdk: sdk.status.sync == "LIVE")
        yield world


async def _wipe(nodes: Sequence[EmbeddedNats], secrets: NatsSecrets) -> None:
    """Leaves nothing of the world before, whose keys nobody knows here."""
    client = await nats_clients.connect(nodes[0].url, user=CONTROL_USER, password=secrets.app_password)
    for environment in ENVIRONMENTS:
        subjects = wire.Subjects(environment)
        for stream in (subjects.log_stream, subjects.snapshot_stream):
            await client.request(f"$JS.API.STREAM.DELETE.{stream}", timeout=10)
    for per in PERIODS:
        await client.request(f"$JS.API.STREAM.DELETE.{stream_of(per)}", timeout=10)
    await client.close()


async def until(holds: Callable[[], Awaitable[object] | object], patience_s: float = 30) -> None:
    """Asks again and again. The bound only ends a test that would never end."""
    async with asyncio.timeout(patience_s):
        while True:
            answer = holds()
            if isinstance(answer, Awaitable):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.02)
