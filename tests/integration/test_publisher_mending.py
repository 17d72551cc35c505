"""What the publisher does when NATS or Postgres are not what they were."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import msgspec
import pytest
from structlog.testing import capture_logs

from brownout import wire
from controlplane.configuration.store import SigningKeys, Store
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.embedded.processes import binary, free_port, port_is_free, spawn, stop, wait_until
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.kit.link import Link
from controlplane.publish import Pace, Shared, mend
from controlplane.publish.parts import Position
from controlplane.publish.publisher import Publisher
from tests.integration.publishing import PATIENT, Listener, listener, put, replica, until
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio


@pytest.fixture
async def environment(bare_store: Store, unique_environment: str) -> str:
    await bare_store.create_environment(unique_environment, "Test")
    return unique_environment


@pytest.fixture
async def ears(nats_server: EmbeddedNats, unique_environment: str) -> AsyncIterator[Listener]:
    async with listener(nats_server.url, unique_environment) as made:
        yield made


async def change(store: Store, environment: str, *numbers: int) -> None:
    for number in numbers:
        await store.commit(environment, [put("beta", str(number))], author="test", message="change")


@asynccontextmanager
async def backup(postgres: EmbeddedPostgres, database: Database) -> AsyncIterator[str]:
    """A copy of the database as it is now: what restoring it later gives back."""
    source = database.url.rpartition("/")[2]
    await database.close()
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute(f"CREATE DATABASE {source}_copy TEMPLATE {source}")
    yield postgres.dsn(f"{source}_copy")
    await connection.execute(f"DROP DATABASE {source}_copy WITH (FORCE)")
    await connection.close()


async def log_of(ears: Listener) -> list[tuple[int, int]]:
    """(epoch, revision) of everything in the log; its sequences are checked to be the revisions."""
    stored = await ears.stored(ears.subjects.log_stream)
    log = [msgspec.json.decode(message.data, type=wire.Envelope) for message in stored]
    assert [e.rev for e in log] == [int((message.headers or {})["Nats-Sequence"]) for message in stored]
    return [(e.ep, e.rev) for e in log]


async def test_streams_that_nats_lost_are_filled_again_at_the_same_revisions(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener
) -> None:
    async with replica(database_url, nats_server.url) as plane:
        for number in range(1, 6):
            await plane.commit(environment, put("beta", str(number)))
        await ears.revisions(5)
        await ears.api(f"STREAM.DELETE.{ears.subjects.log_stream}")
        await ears.api(f"STREAM.DELETE.{ears.subjects.snapshot_stream}")
        assert await ears.revisions(5) == [1, 2, 3, 4, 5]
        await plane.commit(environment, put("beta", "6"))
        assert await ears.revisions(1) == [6]
        assert await log_of(ears) == [(1, n) for n in range(1, 7)]
        manifest = await until(ears.manifest)
        assert manifest.ep == 1
        assert await ears.snapshot(manifest)


@pytest.mark.parametrize(("new", "level"), [(timedelta(hours=1), "info"), (timedelta(0), "warning")])
async def test_only_a_log_that_was_there_is_missed(
    database_url: str,
    nats_server: EmbeddedNats,
    environment: str,
    ears: Listener,
    bare_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    new: timedelta,
    level: str,
) -> None:
    monkeypatch.setattr(mend, "NEW", new)
    await change(bare_store, environment, 1, 2)
    with capture_logs() as told:
        async with replica(database_url, nats_server.url):
            assert await ears.revisions(2) == [1, 2]
    assert [line["log_level"] for line in told if line["event"] == "log_recreated"] == [level]


async def test_a_lost_snapshot_is_made_again(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener
) -> None:
    async with replica(database_url, nats_server.url):
        await until(ears.manifest)
        await ears.api(f"STREAM.DELETE.{ears.subjects.snapshot_stream}")
        assert (await until(ears.manifest)).rev == 0


async def test_settings_that_somebody_changed_are_put_right(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener
) -> None:
    stream = ears.subjects.log_stream
    async with replica(database_url, nats_server.url) as plane:
        await plane.commit(environment, put("beta", "1"))
        await ears.revisions(1)
        config = (await ears.api(f"STREAM.INFO.{stream}"))["config"]
        changed = {**config, "max_msgs": 5, "max_age": 1_000_000_000_000, "allow_direct": False}
        del changed["republish"]
        assert "error" not in await ears.api(f"STREAM.UPDATE.{stream}", changed)

        async def right() -> bool:
            found = (await ears.api(f"STREAM.INFO.{stream}"))["config"]
            names = ("max_msgs", "max_age", "allow_direct", "republish")
            return [found.get(n) for n in names] == [config.get(n) for n in names]

        await until(right)
        await plane.commit(environment, put("beta", "2"))
        assert await ears.revisions(1) == [2]


async def test_a_stream_that_cannot_be_put_right_is_made_anew(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener, bare_store: Store
) -> None:
    await change(bare_store, environment, 1, 2)
    await ears.api(
        f"STREAM.CREATE.{ears.subjects.log_stream}",
        {"name": ears.subjects.log_stream, "subjects": [ears.subjects.log_write], "storage": "memory"},
    )
    async with replica(database_url, nats_server.url):
        assert await ears.revisions(2) == [1, 2]
        assert await log_of(ears) == [(1, 1), (1, 2)]
        assert (await ears.api(f"STREAM.INFO.{ears.subjects.log_stream}"))["config"]["storage"] == "file"


@pytest.mark.parametrize("commits_after_the_restore", [0, 2, 4, 9])
async def test_postgres_restored_to_an_older_point_opens_a_new_epoch(
    postgres: EmbeddedPostgres,
    database: Database,
    nats_server: EmbeddedNats,
    environment: str,
    ears: Listener,
    bare_store: Store,
    commits_after_the_restore: int,
) -> None:
    await change(bare_store, environment, 1, 2, 3)
    async with backup(postgres, database) as restored_url:
        async with replica(database.url, nats_server.url) as plane:
            for number in range(4, 8):
                await plane.commit(environment, put("beta", str(number)))
            assert await ears.revisions(7) == list(range(1, 8))
        restored = Database(restored_url)
        keys = SigningKeys(restored, SystemClock(), SECRET_KEY)
        await change(Store(restored, SystemClock(), keys), environment, *range(commits_after_the_restore))
        await restored.close()
        async with replica(restored_url, nats_server.url) as plane:
            fence = await ears.next()
            while not fence.resets:
                fence = await ears.next()
            assert fence.ep > 1_000_000_000
            assert fence.rev > 7
            head = await plane.store.head(environment)
            await until(lambda: plane.service.health()[0].published == head.revision)
            manifest = await until(ears.manifest)
            assert (manifest.ep, manifest.rev >= fence.rev) == (fence.ep, True)
            await plane.commit(environment, put("beta", "after"))
            await until(lambda: _ends_at(ears, fence.ep, head.revision + 1))
            assert (await plane.store.get_commit(environment, fence.rev)).message.startswith("Postgres was restored")


async def _ends_at(ears: Listener, epoch: int, revision: int) -> bool:
    return (await log_of(ears))[-1:] == [(epoch, revision)]


async def test_a_fence_whose_author_died_is_finished_by_the_next(
    database: Database,
    nats_server: EmbeddedNats,
    environment: str,
    ears: Listener,
    bare_store: Store,
) -> None:
    await change(bare_store, environment, 1, 2, 3)
    async with replica(database.url, nats_server.url):
        await ears.revisions(3)
    fenced = await bare_store.fence(environment, 900, 1, "an SDK was ahead")
    async with replica(database.url, nats_server.url):
        envelope = await ears.next()
        assert (envelope.ep, envelope.rev, envelope.resets) == (fenced.epoch, 901, True)
        manifest = await ears.manifest()
        assert manifest is not None
        assert (manifest.ep, manifest.rev) == (fenced.epoch, 901)
        assert await log_of(ears) == [(fenced.epoch, 901)]


async def test_an_sdk_that_proves_to_be_ahead_is_believed(
    postgres: EmbeddedPostgres,
    database: Database,
    nats_server: EmbeddedNats,
    environment: str,
    ears: Listener,
    bare_store: Store,
) -> None:
    """Postgres restored and NATS wiped: only the fleet remembers."""
    await change(bare_store, environment, 1, 2)
    async with backup(postgres, database) as restored_url:
        await change(bare_store, environment, 3, 4)
        lost = (await bare_store.envelopes(environment, 3, 1))[0]
        claim = wire.Presence(
            instance="i-1",
            service="shop",
            sdk_version="1",
            ep=lost.epoch,
            rev=lost.revision,
            state="live",
            age_s=0,
            ts=0,
            proof=lost.payload,
            proof_kind="log",
            proof_sig=lost.signature,
        )
        async with replica(restored_url, nats_server.url) as plane:
            assert await ears.revisions(2) == [1, 2]
            for forged in (
                msgspec.structs.replace(claim, proof=b"", proof_kind="", proof_sig=""),
                msgspec.structs.replace(claim, rev=3),
                msgspec.structs.replace(claim, proof=lost.payload.replace(b'"rev":4', b'"rev":9'), rev=9),
                msgspec.structs.replace(claim, proof_kind="snapshot"),
                msgspec.structs.replace(claim, proof_sig="unknown.AAAA"),
            ):
                await ears.client.publish(ears.subjects.presence("key", "i-1"), msgspec.json.encode(forged))
            await ears.client.publish(ears.subjects.presence("key", "i-1"), b"not json")
            await ears.client.flush()
            await plane.commit(environment, put("beta", "5"))
            assert (await ears.next()).rev == 3
            assert (await plane.store.head(environment)).epoch == 1
            too_large_to_send = msgspec.structs.replace(claim, rev=lost.revision + 1)
            await ears.client.publish(ears.subjects.presence("key", "i-1"), msgspec.json.encode(too_large_to_send))
            fence = await ears.next()
            assert (fence.resets, fence.rev) == (True, 5)
            assert plane.service.health()[0].counters.fences == 1
            assert await ears.heartbeat(lambda beat: (beat.ep, beat.rev) == (fence.ep, 5))


@pytest.fixture
def plain_nats(tmp_path: Path) -> Iterator[str]:
    """A NATS server that has no JetStream."""
    port = free_port()
    process = spawn([str(binary("nats-server")), "-a", "127.0.0.1", "-p", str(port)], tmp_path / "log")
    wait_until(lambda: not port_is_free(port), process, tmp_path / "log", "NATS", 10)
    yield f"nats://127.0.0.1:{port}"
    stop(process)


async def test_without_jetstream_the_signed_bytes_go_out_all_the_same(
    database_url: str, plain_nats: str, environment: str, bare_store: Store
) -> None:
    async with listener(plain_nats, environment) as ears, replica(database_url, plain_nats) as plane:
        await plane.commit(environment, put("beta", "1"))
        await until(lambda: plane.service.health()[0].degraded)
        await plane.commit(environment, put("beta", "2"))
        seen: set[int] = set()
        while seen != {1, 2}:
            seen.add((await ears.next()).rev)
        assert await ears.revisions(2) == [1, 2], "what is not in the log is sent again"
        stored = await bare_store.envelopes(environment, 0, 10)
        assert {m.data for m in ears.raw} == {e.payload for e in stored}
        assert plane.service.health()[0].counters.appended == 0


async def test_what_went_out_before_another_replica_fenced_is_not_the_head(
    database: Database, signing_keys: SigningKeys, bare_store: Store, environment: str
) -> None:
    parts = Shared(database, bare_store, signing_keys, Link(["nats://127.0.0.1:1"]), SystemClock())
    publisher = Publisher(environment, parts, Pace(), lambda _: None)
    publisher._logged, publisher._fallback.sent = Position(1, 110), Position(1, 120)
    assert publisher.position() == (1, 120)
    publisher._logged = Position(1_800_000_000, 111)
    assert publisher.position() == (1_800_000_000, 111)


@pytest.mark.parametrize("what", ["unreadable", "empty", "forged"])
async def test_a_manifest_that_is_not_ours_is_absent(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener, what: str
) -> None:
    """The publisher replaces it and goes on; it neither crashes nor opens an epoch for it."""
    forged = wire.Manifest(1, environment, 2**60, 2**60, "0" * 32, 1, "evil", 1, "0" * 64)
    payload = {"unreadable": b"+", "empty": b"", "forged": msgspec.json.encode(forged)}[what]
    with capture_logs() as told:
        async with replica(database_url, nats_server.url) as plane:
            await plane.commit(environment, put("beta", "1"))
            genuine = await until(ears.manifest)
            await ears.client.request(ears.subjects.manifest, payload)  # answered when it lies there

            async def replaced() -> wire.Manifest | None:
                body = msgspec.json.encode({"last_by_subj": ears.subjects.manifest})
                stream = ears.subjects.snapshot_stream
                message = await ears.client.request(f"$JS.API.DIRECT.GET.{stream}", body)
                return None if message.data == payload else await ears.manifest()

            manifest = await until(replaced)
            assert (manifest.ep, manifest.rev) == (genuine.ep, 1)
            assert await ears.snapshot(manifest)
            assert await plane.commit(environment, put("beta", "2")) == 2
            assert await ears.revisions(2) == [1, 2]
            assert (await plane.store.head(environment)).epoch == genuine.ep
            assert plane.service.health()[0].counters.strange > 0
    assert not [line for line in told if line["event"] == "background work died"]


async def test_what_has_no_business_in_the_streams_is_removed_and_a_damaged_snapshot_made_anew(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener
) -> None:
    async with replica(database_url, nats_server.url) as plane:
        await plane.commit(environment, put("beta", "1"))
        manifest = await until(ears.manifest)
        await ears.client.request(f"bow.{environment}.snap.junk", b"x")
        await ears.client.request(ears.subjects.chunk(manifest.sid, 0), b"not a chunk")

        async def mended() -> bool:
            now = await ears.manifest()
            return now is not None and now.sid != manifest.sid and bool(await ears.snapshot(now))

        await until(mended)

        async def gone() -> bool:
            info = await ears.api(f"STREAM.INFO.{ears.subjects.snapshot_stream}", {"subjects_filter": ">"})
            return f"bow.{environment}.snap.junk" not in info["state"]["subjects"]

        await until(gone)
        assert plane.service.health()[0].counters.strange >= 2


async def test_a_log_that_ends_in_something_nobody_signed_is_made_anew_in_the_same_epoch(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener
) -> None:
    async with replica(database_url, nats_server.url) as plane:
        await plane.commit(environment, put("beta", "1"))
        await ears.revisions(1)
        head = await plane.store.head(environment)
        rogue = wire.Envelope(1, environment, 2**60, 2, head.chain, 0, ())
        await ears.client.request(ears.subjects.log_write, msgspec.json.encode(rogue))
        revision = await plane.commit(environment, put("beta", "2"))
        await until(lambda: plane.service.health()[0].published == revision)
        assert (await plane.store.head(environment)).epoch == head.epoch
        assert await log_of(ears) == [(head.epoch, 1), (head.epoch, 2)]


async def test_streams_that_vanish_or_change_are_mended_at_once(
    database_url: str, nats_server: EmbeddedNats, environment: str, ears: Listener
) -> None:
    """Nothing here happens by the clock: the server's own word of it wakes the publisher."""
    async with replica(database_url, nats_server.url, PATIENT) as plane:
        await plane.commit(environment, put("beta", "1"))
        await until(ears.manifest)
        for stream in (ears.subjects.log_stream, ears.subjects.snapshot_stream):
            await ears.api(f"STREAM.DELETE.{stream}")
            await until(lambda stream=stream: exists(ears, stream))
            config = (await ears.api(f"STREAM.INFO.{stream}"))["config"]
            await ears.api(f"STREAM.UPDATE.{stream}", {**config, "allow_direct": False})
            await until(lambda stream=stream: direct(ears, stream))
        assert await until(ears.manifest)


async def exists(ears: Listener, stream: str) -> bool:
    return "error" not in await ears.api(f"STREAM.INFO.{stream}")


async def direct(ears: Listener, stream: str) -> bool:
    return bool((await ears.api(f"STREAM.INFO.{stream}"))["config"]["allow_direct"])
