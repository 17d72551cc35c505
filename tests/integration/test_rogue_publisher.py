"""Somebody who should not publishes: with stolen SDK keys, and from inside NATS itself. A real control plane, a real
nats-server with the auth callout, a real SDK; no decision changes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import nats
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from brownout import Brownout, wire
from brownout.wire import Operation, SdkKey, Subjects
from controlplane.access.actor import system_actor
from controlplane.access.natsconfig import CONTROL_USER, NatsSecrets, accounts_config, with_credentials
from controlplane.app import open_services
from controlplane.configuration.store import SigningKey
from controlplane.embedded.nats import EmbeddedNats
from controlplane.services import Services
from controlplane.settings import Secret, Settings
from tests.integration import nats_clients
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio
ROOT = system_actor("system:test")
P, S = "production", "staging"


@pytest.fixture(scope="module")
def secrets() -> NatsSecrets:
    return NatsSecrets.generate()


@pytest.fixture
def server(tmp_path: Path, secrets: NatsSecrets) -> Iterator[EmbeddedNats]:
    tmp_path.chmod(0o755)
    with EmbeddedNats(tmp_path / "nats", extra=accounts_config(secrets)) as running:
        yield running


class Plane(NamedTuple):
    services: Services
    keys: dict[str, str]
    """A whole SDK key an environment."""

    async def commit(self, environment: str, *, on: bool) -> int:
        made = await self.services.changes.commit(ROOT, environment, [flag(on=on)], "switch")
        return made.revision


@pytest.fixture
async def plane(server: EmbeddedNats, secrets: NatsSecrets, database_url: str) -> AsyncIterator[Plane]:
    settings = Settings(
        database_url=Secret(database_url),
        secret_key=Secret(SECRET_KEY),
        nats_url=server.url,
        nats_user=CONTROL_USER,
        nats_password=Secret(secrets.app_password),
        nats_issuer_seed=Secret(secrets.issuer_seed),
        nats_authd_password=Secret(secrets.auth_password),
        nats_system_password=Secret(secrets.system_password),
        heartbeat_s=0.5,
    )
    async with open_services(settings) as services:
        keys = {}
        for environment in (P, S):
            await services.environments.create(ROOT, environment, environment)
            keys[environment] = (await services.access.keys.create(ROOT, environment, "stolen")).key
        yield Plane(services, keys)


@pytest.fixture
async def insider(server: EmbeddedNats, secrets: NatsSecrets, plane: Plane) -> AsyncIterator[Client]:
    """The control plane's own account: NATS lets it publish anything."""
    client = await nats.connect(with_credentials(server.url, CONTROL_USER, secrets.app_password))
    yield client
    await client.close()


@asynccontextmanager
async def victim(server: EmbeddedNats, plane: Plane) -> AsyncIterator[Brownout]:
    """An SDK of `production` that has caught up."""
    client = Brownout.connect(server.url, key=plane.keys[P], environment=P, service="victim", disk=False)
    try:
        await until(lambda: client.status.sync == "LIVE")
        yield client
    finally:
        await asyncio.to_thread(client.close)


async def until(holds: Callable[[], bool], patience_s: float = 20) -> None:
    for _ in range(int(patience_s / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to that")


def flag(*, on: bool) -> Operation:
    spec = {"type": "boolean", "description": "", "owner": "", "tags": [], "enabled": True,
            "variants": {"on": True, "off": False}, "off_variant": "off", "rules": [],
            "default": "on" if on else "off"}  # fmt: skip
    return Operation("put", "flag", "f", msgspec.Raw(msgspec.json.encode(spec)))


def decides(client: Brownout) -> bool:
    return client.boolean("f", {}, default=True)


@pytest.mark.parametrize("stolen", [S, P])
async def test_a_stolen_sdk_key_publishes_nothing_that_an_sdk_hears(
    server: EmbeddedNats, plane: Plane, stolen: str
) -> None:
    await plane.commit(P, on=False)
    heard: list[str] = []

    async def on_error(error: Exception) -> None:
        heard.append(str(error).lower())

    async with victim(server, plane) as client:
        await until(lambda: decides(client) is False)
        thief = await enter(server, plane.keys[stolen], stolen, on_error)
        before = client.status.counters
        for environment in (P, S):
            subjects = Subjects(environment)
            for subject in (
                subjects.log, subjects.heartbeat, subjects.log_write, subjects.manifest, subjects.keys,
                subjects.chunk("s1", 0), subjects.inbox("victim") + ".x",
                f"$JS.API.STREAM.PURGE.{subjects.log_stream}", f"$JS.API.STREAM.MSG.DELETE.{subjects.snapshot_stream}",
            ):  # fmt: skip
                heard.clear()
                await thief.publish(subject, b"{}", headers={wire.SIGNATURE_HEADER: "k.AAAA"})
                await thief.flush()
                await until(lambda: any("permissions violation" in each for each in heard), 5)
        await thief.close()
        after = client.status.counters
        assert (after.bad_signatures, after.malformed) == (before.bad_signatures, before.malformed)
        assert decides(client) is False


async def enter(server: EmbeddedNats, key: str, environment: str, on_error: object) -> Client:
    """With a key and nothing else; a new key is heard of by notification, so asks until the answer is yes."""
    for _ in range(100):
        try:
            return await nats_clients.connect(
                server.url, token=key.partition(".")[0], name="thief", error_cb=on_error, allow_reconnect=False,
                inbox_prefix=Subjects(environment).inbox("thief"),
            )  # fmt: skip
        except NatsError:
            await asyncio.sleep(0.05)
    raise AssertionError("the key opens nothing")


async def test_an_insider_who_may_publish_anything_changes_no_decision(
    server: EmbeddedNats, plane: Plane, insider: Client
) -> None:
    """Forged by somebody else's key, unsigned, genuine but of another environment, genuine but old: all are counted."""
    genuine: dict[str, list[Msg]] = {
        subject: [] for e in (P, S) for subject in (Subjects(e).log, Subjects(e).heartbeat)
    }

    async def keep(message: Msg) -> None:
        genuine[message.subject].append(message)

    listening = await insider.subscribe("bo.>", cb=keep)
    await insider.flush()
    async with victim(server, plane) as client:
        await plane.commit(P, on=True)
        for on in (False, True, False):
            await plane.commit(S, on=on)
        revision = await plane.commit(P, on=False)
        await until(lambda: client.status.revision == revision)
        await until(lambda: len(genuine[Subjects(S).log]) >= 3 and len(genuine[Subjects(P).heartbeat]) > 1)
        await listening.unsubscribe()
        head = await plane.services.store.head(P)
        real = await plane.services.signing_keys.current(P)
        thief = SigningKey(real.kid, Ed25519PrivateKey.generate())  # calls itself like the real one
        ahead = wire.Envelope(1, P, head.epoch, revision + 1, head.chain, 0, (flag(on=True),))
        reset = msgspec.structs.replace(ahead, ep=head.epoch + 9, rev=revision + 99, ops=(Operation("reset"),))
        beat = wire.Heartbeat(1, P, head.epoch + 9, revision + 99, 2**41)
        mine = Subjects(P)

        forged = [
            (mine.log, *signed(thief, "log", ahead)),
            (mine.log, *signed(thief, "log", reset)),
            (mine.heartbeat, *signed(thief, "heartbeat", beat)),
            (mine.log, msgspec.json.encode(ahead), ""),
            (mine.heartbeat, msgspec.json.encode(beat), ""),
            (mine.heartbeat, *signed(real, "log", beat)),  # a real signature, of something else
            *((mine.log, *of(message)) for message in genuine[Subjects(S).log]),
            (mine.heartbeat, *of(genuine[Subjects(S).heartbeat][-1])),
        ]
        before = client.status.counters.bad_signatures
        for subject, payload, signature in forged:
            await insider.publish(subject, payload, headers={wire.SIGNATURE_HEADER: signature} if signature else None)
        await until(lambda: client.status.counters.bad_signatures - before == len(forged))

        replayed = client.status.counters.replays
        old = [*genuine[mine.log][:-1], genuine[mine.heartbeat][0]]
        for message in old:
            payload, signature = of(message)
            await insider.publish(message.subject, payload, headers={wire.SIGNATURE_HEADER: signature})
        await until(lambda: client.status.counters.replays - replayed >= len(old))
        assert (decides(client), client.status.revision) == (False, revision)

        await plane.commit(P, on=True)  # and the true word still comes through
        await until(lambda: decides(client) is True)


async def test_forged_snapshots_and_keys_in_the_streams_lead_nobody_astray(
    server: EmbeddedNats, plane: Plane, insider: Client
) -> None:
    """Whoever starts now reads them first; the control plane mends what was overwritten."""
    await plane.commit(P, on=False)
    async with victim(server, plane) as client:
        await until(lambda: decides(client) is False)
        head = await plane.services.store.head(P)
        real, mine = await plane.services.signing_keys.current(P), Subjects(P)
        thief = SigningKey("stranger", Ed25519PrivateKey.generate())
        chunks = wire.pack_snapshot([("flag", "f", bytes(flag(on=True).spec))])
        for index, chunk in enumerate(chunks):
            await insider.publish(mine.chunk("evil", index), chunk)
        sha = wire.snapshot_digest(chunks)
        manifest = wire.Manifest(1, P, head.epoch, head.revision + 5, "0" * 32, len(chunks), "evil", 1, sha)
        for key in (thief, SigningKey(real.kid, thief.private)):
            payload, signature = signed(key, "snapshot", manifest)
            await insider.publish(mine.manifest, payload, headers={wire.SIGNATURE_HEADER: signature})
        links = (*(await plane.services.signing_keys.chain(P)).links, self_made(thief))
        await insider.publish(mine.keys, msgspec.json.encode(wire.KeyChain(1, P, links)))
        ahead = wire.Envelope(1, P, head.epoch, head.revision + 1, head.chain, 0, (flag(on=True),))
        payload, signature = signed(thief, "log", ahead)
        await insider.publish(mine.log_write, payload, headers={wire.SIGNATURE_HEADER: signature})
        await insider.flush()
        assert SdkKey.parse(plane.keys[P]).kid == real.kid

        async with victim_starting_now(server, plane) as late:
            assert late.boolean("f", {}, default=False) is False
            assert decides(client) is False
            truth = await plane.services.changes.commit(ROOT, P, [Operation("del", "flag", "f")], "gone")
            for each in (client, late):
                await until(lambda each=each: each.status.revision >= truth.revision, 40)
                assert each.decide("f", {}, default=False).error_code == "FLAG_NOT_FOUND"
                assert each.status.counters.bad_signatures > 0


@asynccontextmanager
async def victim_starting_now(server: EmbeddedNats, plane: Plane) -> AsyncIterator[Brownout]:
    client = Brownout.connect(server.url, key=plane.keys[P], environment=P, service="late", disk=False)
    try:
        yield client
    finally:
        await asyncio.to_thread(client.close)


def signed(key: SigningKey, kind: wire.SignedKind, body: msgspec.Struct) -> tuple[bytes, str]:
    payload = msgspec.json.encode(body)
    return payload, key.sign(kind, P, payload)


def of(message: Msg) -> tuple[bytes, str]:
    return message.data, (message.headers or {})[wire.SIGNATURE_HEADER]


def self_made(key: SigningKey) -> wire.KeyLink:
    """A link that only its own maker vouches for."""
    import base64

    pub = base64.urlsafe_b64encode(key.public).rstrip(b"=").decode()
    return wire.KeyLink(key.kid, pub, key.kid, key.sign("keys", P, wire.link_payload(key.kid, pub)))
