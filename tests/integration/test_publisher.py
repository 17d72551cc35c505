import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import asyncpg
import msgspec
import pytest

from brownout import wire
from controlplane.configuration.store import SigningKey, SigningKeys, State, Store
from controlplane.embedded.nats import EmbeddedNats
from controlplane.kit.jetstream import JetStream
from controlplane.kit.link import Link
from controlplane.kit.tasks import end
from controlplane.publish import Pace, Published
from controlplane.publish.snapshots import Snapshots
from controlplane.publish.trust import Trust
from tests.integration.publishing import PATIENT, Listener, Replica, listener, put, replica, until
from tests.support import connected, rotate

pytestmark = pytest.mark.anyio


@pytest.fixture
async def environment(bare_store: Store, unique_environment: str) -> str:
    await bare_store.create_environment(unique_environment, "Test")
    return unique_environment


@pytest.fixture
async def ears(nats_server: EmbeddedNats, unique_environment: str) -> AsyncIterator[Listener]:
    async with listener(nats_server.url, unique_environment) as made:
        yield made


@pytest.fixture
async def plane(database_url: str, nats_server: EmbeddedNats, environment: str) -> AsyncIterator[Replica]:
    async with replica(database_url, nats_server.url) as made:
        yield made


async def test_a_commit_reaches_listeners_as_the_very_bytes_that_were_stored(
    plane: Replica, ears: Listener, environment: str
) -> None:
    for number in range(1, 4):
        assert await plane.commit(environment, put("beta", f"u-{number}")) == number
    assert await ears.revisions(3) == [1, 2, 3]
    stored = await plane.store.envelopes(environment, 0, 10)
    assert [m.data for m in ears.raw] == [e.payload for e in stored]
    assert [(m.headers or {})[wire.SIGNATURE_HEADER] for m in ears.raw] == [e.signature for e in stored]
    info = await ears.api(f"STREAM.INFO.{ears.subjects.log_stream}")
    assert (info["state"]["first_seq"], info["state"]["last_seq"]) == (1, 3)


async def test_a_commit_made_by_another_process_is_published_on_notify(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener, bare_store: Store
) -> None:
    async with replica(database_url, nats_server.url, PATIENT) as plane:
        await plane.commit(environment, put("beta"))
        await ears.revisions(1)
        await bare_store.commit(environment, [put("beta", "u-1")], author="test", message="change")
        assert await ears.revisions(1) == [2]


async def test_notifications_come_again_after_postgres_dropped_the_connection(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener, bare_store: Store
) -> None:
    async with replica(database_url, nats_server.url, PATIENT) as plane:
        await plane.commit(environment, put("beta"))
        await ears.revisions(1)
        connection = await asyncpg.connect(database_url)
        dropped = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        assert await connection.fetchval(dropped)
        await connection.close()
        await bare_store.commit(environment, [put("beta", "u-1")], author="test", message="change")
        assert await ears.revisions(1) == [2]


async def test_an_environment_made_while_running_is_published(
    plane: Replica, bare_store: Store, nats_server: EmbeddedNats, environment: str
) -> None:
    late = f"{environment}-late"
    async with listener(nats_server.url, late) as ears:
        await bare_store.create_environment(late, "Late")
        await plane.commit(late, put("beta"))
        assert await ears.revisions(1) == [1]


async def test_an_environment_without_any_revision_can_be_booted_from(
    plane: Replica, ears: Listener, environment: str
) -> None:
    manifest = await until(lambda: _manifest(ears))
    assert (manifest.ep, manifest.rev, manifest.chain) == (1, 0, "")
    assert await ears.snapshot(manifest) == {}


async def test_the_snapshot_holds_the_state_and_joins_the_chain(
    plane: Replica, ears: Listener, environment: str, signing_keys: SigningKeys
) -> None:
    for number in range(5):
        await plane.commit(environment, put(f"c-{number}", "u-1"))
    await ears.revisions(5)
    manifest = await until(lambda: _manifest(ears))
    state = await plane.store.state(environment)
    if manifest.rev == state.head.revision:
        assert await ears.snapshot(manifest) == dict(state.resources)
    envelopes = await plane.store.envelopes(environment, manifest.rev, 1)
    assert not envelopes or envelopes[0].previous_chain == manifest.chain
    (message,) = [m for m in await ears.stored(ears.subjects.snapshot_stream) if m.headers and b"sid" in m.data]
    key = await signing_keys.current(environment)
    verifier = wire.Verifier(environment, {key.kid: key.public})
    assert verifier.verify("snapshot", message.data, (message.headers or {})[wire.SIGNATURE_HEADER])


async def test_a_new_snapshot_follows_two_hundred_revisions_and_two_are_kept(
    plane: Replica, ears: Listener, environment: str
) -> None:
    for number in range(650):
        await plane.commit(environment, put(f"c-{number % 7}", str(number)))
    await ears.revisions(650)
    manifest = await until(lambda: _manifest(ears, 401))
    await until(lambda: _chunk_count(ears, 2))
    assert await ears.snapshot(manifest)


async def _chunk_count(ears: Listener, count: int) -> bool:
    stored = await ears.stored(ears.subjects.snapshot_stream)
    return len({m.headers["Nats-Subject"] for m in stored if ".snap.c." in (m.headers or {})["Nats-Subject"]}) == count


async def test_replicas_at_once_append_every_revision_exactly_once(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener
) -> None:
    async with (
        replica(database_url, nats_server.url) as one,
        replica(database_url, nats_server.url) as two,
        replica(database_url, nats_server.url) as three,
    ):
        planes = (one, two, three)

        async def write(plane: Replica, name: str) -> None:
            for number in range(60):
                await plane.commit(environment, put(name, str(number)))

        await asyncio.gather(*(write(plane, f"c-{index}") for index, plane in enumerate(planes)))
        assert await ears.first_heard(180) == list(range(1, 181))
        counters = [plane.service.health()[0].counters for plane in planes]
        appended = sum(each.appended for each in counters)
        assert appended == 180 or (appended < 180 and any(each.degradations for each in counters))
    log = await ears.stored(ears.subjects.log_stream)
    assert [msgspec.json.decode(m.data, type=wire.Envelope).rev for m in log] == list(range(1, 181))


async def test_a_backlog_is_published_in_order(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener, bare_store: Store
) -> None:
    for number in range(600):
        await bare_store.commit(environment, [put("beta", str(number))], author="test", message="change")
    async with replica(database_url, nats_server.url):
        revisions = await ears.first_heard(600)
    assert revisions == list(range(1, 601))


async def test_each_revision_is_reported_when_it_is_out(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener
) -> None:
    reports: list[Published] = []
    async with replica(database_url, nats_server.url) as plane:
        plane.service.on_published(reports.append)
        for number in range(3):
            await plane.commit(environment, put("beta", str(number)))
        await until(lambda: len(reports) == 3)
        (health,) = plane.service.health()
    assert [(r.environment, r.epoch, r.revision) for r in reports] == [(environment, 1, n) for n in (1, 2, 3)]
    assert (health.published, health.lag, health.degraded) == (3, 0, False)


async def test_a_commit_too_large_for_a_message_is_a_reset_after_its_snapshot(
    plane: Replica, ears: Listener, environment: str
) -> None:
    await plane.commit(environment, put("beta", "u-1"))
    await ears.revisions(1)
    await plane.commit(environment, *(put(f"big-{n}", *(f"unit-{n}-{i}" for i in range(5_000))) for n in range(12)))
    envelope = await ears.next()
    assert (envelope.rev, envelope.resets) == (2, True)
    manifest = await ears.manifest()
    assert manifest is not None
    assert manifest.rev >= 2
    assert await ears.snapshot(manifest) == dict((await plane.store.state(environment)).resources)
    await plane.commit(environment, put("beta", "u-2"))
    assert (await ears.next()).pch == wire.chain(envelope.pch, ears.raw[-2].data)


class SlowStore:
    """Something else happens between its reading and its answer."""

    def __init__(self, store: Store, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._meanwhile = meanwhile

    async def state(self, environment: str, revision: int | None = None) -> State:
        found = await self._store.state(environment, revision)
        await self._meanwhile()
        return found


class EarlierStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def state(self, environment: str) -> State:
        return await self._store.state(environment, 1)


async def test_a_snapshot_is_only_ensured_when_no_older_one_came_in_between(
    bare_store: Store, signing_keys: SigningKeys, nats_server: EmbeddedNats, environment: str
) -> None:
    for unit in ("u-1", "u-2"):
        await bare_store.commit(environment, [put("beta", unit)], author="test", message="change")
    link = Link([nats_server.url])
    running = asyncio.create_task(link.run())
    try:
        await connected(link)
        jetstream = JetStream(link)
        other = Snapshots(
            environment, jetstream, cast("Store", EarlierStore(bare_store)), Trust(environment, signing_keys), 1
        )
        slow = SlowStore(bare_store, other.replace)
        snapshots = Snapshots(environment, jetstream, cast("Store", slow), Trust(environment, signing_keys), 1)

        assert not await snapshots.ensure(1, 2)

        quick = Snapshots(environment, jetstream, bare_store, Trust(environment, signing_keys), 1)
        assert await quick.ensure(1, 2)
    finally:
        await end(running)


async def test_heartbeats_name_the_head_and_are_signed(
    plane: Replica, ears: Listener, environment: str, signing_keys: SigningKeys
) -> None:
    plane.service.count_fleet(lambda key: 43 if key == environment else 0)
    revision = await plane.commit(environment, put("beta"))
    beat = await ears.heartbeat(lambda b: b.rev == revision)
    assert (beat.env, beat.ep, beat.interval_s, beat.fleet) == (environment, 1, 0.2, 43)


async def test_a_replica_is_silent_while_another_beats(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener
) -> None:
    async with replica(database_url, nats_server.url, Pace(poll_s=0.1, heartbeat_s=2)) as plane:
        await plane.commit(environment, put("beta"))
        await ears.heartbeat()
        for _ in range(15):
            await _beat(ears, environment, revision=1, key=await plane.keys.current(environment))
            await asyncio.sleep(0.2)
    heard = [ears.heartbeats.get_nowait() for _ in range(ears.heartbeats.qsize())]
    assert [beat.ts for beat in heard] == [0] * 15


async def test_a_beat_that_is_behind_silences_nobody(plane: Replica, ears: Listener, environment: str) -> None:
    await plane.commit(environment, put("beta", "u-1"))
    for _ in range(3):
        await _beat(ears, environment, revision=0, key=await plane.keys.current(environment))
        assert (await ears.heartbeat(lambda beat: beat.ts > 0 and beat.rev == 1)).ep == 1


async def test_a_beat_that_nobody_of_us_signed_silences_nobody(
    plane: Replica, ears: Listener, environment: str
) -> None:
    await plane.commit(environment, put("beta", "u-1"))
    await ears.heartbeat(lambda beat: beat.rev == 1)
    for _ in range(3):
        await _beat(ears, environment, revision=2**40, key=None)
        assert (await ears.heartbeat(lambda beat: beat.ts > 0)).rev == 1


async def _beat(ears: Listener, environment: str, revision: int, key: SigningKey | None) -> None:
    payload = msgspec.json.encode(wire.Heartbeat(1, environment, 1, revision, ts=0))
    headers = {wire.SIGNATURE_HEADER: key.sign("heartbeat", environment, payload)} if key else None
    await ears.client.publish(ears.subjects.heartbeat, payload, headers=headers)


async def test_a_new_signing_key_can_be_learned_before_it_is_met(
    plane: Replica, ears: Listener, environment: str, signing_keys: SigningKeys
) -> None:
    await plane.commit(environment, put("beta", "u-1"))
    first = await signing_keys.current(environment)
    second = await rotate(plane.keys, environment)
    await plane.commit(environment, put("beta", "u-2"))
    await ears.revisions(2)
    body = msgspec.json.encode({"last_by_subj": ears.subjects.keys})
    answer = await ears.client.request(f"$JS.API.DIRECT.GET.{ears.subjects.snapshot_stream}", body)
    verifier = wire.Verifier(environment, {first.kid: first.public})
    assert wire.learn(verifier, msgspec.json.decode(answer.data, type=wire.KeyChain)) == 1
    signature = (ears.raw[1].headers or {})[wire.SIGNATURE_HEADER]
    assert signature.startswith(second.kid)
    assert verifier.verify("log", ears.raw[1].data, signature)


async def _manifest(ears: Listener, revision: int = 0) -> wire.Manifest | None:
    manifest = await ears.manifest()
    return manifest if manifest and manifest.rev >= revision else None
