"""A client on a real NATS: it catches up, stays caught up, and nothing that dies or lies changes a decision."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brownout import Brownout, Source, State
from brownout._sync import session
from brownout.wire.bundle import Signed
from sdk.tests.history import History, put
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess
from sdk.tests.waiting import eventually, follows, hears_heartbeats

Connect = Callable[..., Brownout]


@pytest.fixture
def connect(history: History, shared_nats: NatsProcess) -> Iterator[Connect]:
    """Connects to the shared server unless told otherwise; closes what it opened."""
    opened: list[Brownout] = []

    def connect(url: str | None = None, **options: Any) -> Brownout:
        given = {"key": history.sdk_key, "environment": history.environment, "service": "tests", "disk": False}
        client = Brownout.connect(url or shared_nats.url, **(given | options))
        opened.append(client)
        return client

    yield connect
    for client in opened:
        client.close()


def resources(client: Brownout) -> dict[tuple[str, str], bytes]:
    return {tuple(ref): bytes(spec) for ref, spec in client._compiled.resources.items()}


def test_it_is_ready_from_a_snapshot_and_applies_what_follows(
    publisher: LogPublisher, history: History, connect: Connect
) -> None:
    client = connect()
    assert client.wait_ready(10)
    assert (client.status.state, client.status.source) == (State.READY, Source.NATS)
    publisher.set_flag("first", on=True)
    publisher.commit(put("fourth", history.resources["flag", "second"]))
    follows(client, 5)
    assert resources(client) == history.resources
    assert client.status.counters.applied == 2


def test_a_late_starter_fills_what_the_snapshot_lacks(
    publisher: LogPublisher, history: History, connect: Connect
) -> None:
    for number in range(40):
        publisher.set_flag(f"n{number}", on=True)
    client = connect()
    assert client.wait_ready(10)
    follows(client, history.revision)
    assert resources(client) == history.resources
    assert client.status.counters.fills == 40


def test_a_missed_message_is_fetched_when_the_heartbeat_tells_of_it(
    publisher: LogPublisher, history: History, connect: Connect
) -> None:
    client = connect()
    assert client.wait_ready(10)
    message = history.set_flag("quiet", on=True)
    publisher.log(message)
    follows(client, history.revision)
    assert resources(client) == history.resources


def test_what_intruders_send_is_counted_and_changes_nothing(
    publisher: LogPublisher, history: History, connect: Connect
) -> None:
    client = connect()
    assert client.wait_ready(10)
    publisher.set_flag("x", on=True)
    follows(client, history.revision)
    before = resources(client)
    intruder = History(history.environment, seed=b"intruder")
    intruder.epoch, intruder.revision, intruder.chain = history.epoch, history.revision, history.chain
    forged = intruder.set_flag("first", on=True)
    publisher.say(forged)
    publisher.say(Signed(forged.payload, ""))
    publisher.say(Signed(forged.payload, "k9." + forged.signature.partition(".")[2]))
    publisher.say(Signed(history.log[-1].payload[:-7], history.log[-1].signature))
    publisher.say(history.log[0])
    publisher.say(Signed(b"\xff\x00 not json", "rubbish"))
    publisher.set_flag("y", on=True)
    follows(client, history.revision)
    counters = client.status.counters
    assert counters.bad_signatures == 5
    assert counters.replays >= 1
    assert resources(client) == before | {("flag", "y"): history.resources["flag", "y"]}


def test_a_new_signing_key_is_learned_on_the_way(publisher: LogPublisher, history: History, connect: Connect) -> None:
    client = connect()
    assert client.wait_ready(10)
    publisher.publish_keys(history.rotate())
    publisher.set_flag("after", on=True)
    follows(client, history.revision)
    assert ("flag", "after") in resources(client)


def test_a_new_epoch_replaces_everything(publisher: LogPublisher, history: History, connect: Connect) -> None:
    client = connect()
    assert client.wait_ready(10)
    del history.resources["flag", "third"]
    reset = history.fence(history.revision + 1)
    publisher.snapshot()
    publisher.log(reset)
    follows(client, history.revision)
    assert (client.status.epoch, resources(client)) == (2, history.resources)


def test_it_reports_itself_soon_after_each_change_and_when_it_ends(
    publisher: LogPublisher, history: History, connect: Connect
) -> None:
    client = connect()
    assert client.wait_ready(10)
    publisher.set_flag("x", on=True)
    eventually(client, lambda: any(p.rev == history.revision for p in publisher.presence))
    client.close()
    eventually(client, lambda: publisher.presence[-1].closing)
    last = publisher.presence[-1]
    assert (last.instance, last.service, last.state) == (client.status.instance, "tests", "LIVE")


def test_nats_may_restart_and_lose_everything(own_nats: NatsProcess, history: History, connect: Connect) -> None:
    with LogPublisher(own_nats.url, history) as publisher:
        client = connect(own_nats.url)
        assert client.wait_ready(10)
        own_nats.stop(kill=True)
        eventually(client, lambda: client.status.sync in {"DISCONNECTED", "CONNECTING"})
        assert resources(client) == history.resources
        own_nats.wipe()
        history.set_flag("meanwhile", on=True)
        own_nats.start()
        publisher.reopen()
        publisher.set_flag("afterwards", on=True)
        follows(client, history.revision)
        assert resources(client) == history.resources
        assert client.status.counters.snapshots == 1


def test_being_refused_is_never_final(own_nats: NatsProcess, history: History, connect: Connect) -> None:
    own_nats.stop()
    own_nats.extra = "authorization { token: another }"
    own_nats.start()
    client = connect(own_nats.url)
    eventually(client, lambda: "authorization" in client.status.last_error.lower())
    assert client.status.state is State.NOT_READY
    own_nats.stop()
    own_nats.extra = ""
    own_nats.start()
    with LogPublisher(own_nats.url, history):
        follows(client, history.revision)


def test_a_node_that_hangs_is_left_for_one_that_answers(
    own_nats: NatsProcess, history: History, connect: Connect
) -> None:
    with LogPublisher(own_nats.url, history, heartbeat_s=0.1):
        client = connect(own_nats.url)
        hears_heartbeats(client)
        own_nats.send(signal.SIGSTOP)
        eventually(client, lambda: client.status.counters.reconnects > 0)
        own_nats.send(signal.SIGCONT)
        follows(client, history.revision)


def test_without_a_control_plane_it_stays_live_on_what_nats_holds_and_says_that_it_is_stale(
    publisher: LogPublisher, history: History, connect: Connect
) -> None:
    client = connect(stale_after_s=0.5)
    hears_heartbeats(client)
    publisher.beating = False
    publisher.set_flag("last", on=True)
    follows(client, history.revision)
    eventually(client, lambda: client.status.state is State.STALE)
    publisher.set_flag("later", on=True)
    follows(client, history.revision)
    eventually(client, lambda: client.status.state is State.STALE)
    assert (client.status.sync, resources(client)) == ("LIVE", history.resources)
    newcomer = connect(stale_after_s=0.5)
    assert newcomer.wait_configured(10)
    follows(newcomer, history.revision)
    assert (newcomer.status.state, newcomer.status.configured) == (State.STALE, True)
    assert not newcomer.wait_ready(0.3)


def test_it_starts_from_its_disk_copy_and_says_so(
    publisher: LogPublisher, history: History, connect: Connect, tmp_path: Path
) -> None:
    first = connect(disk=tmp_path)
    assert first.wait_ready(10)
    publisher.set_flag("tail", on=True)
    follows(first, history.revision)
    first.close()
    second = connect("nats://127.0.0.1:1", disk=tmp_path)
    assert resources(second) == history.resources
    status = second.status
    assert (status.state, status.source, status.revision) == (State.STALE, Source.DISK, history.revision)
    assert status.age_s is not None
    assert not second.wait_ready(0)


def test_evidence_that_grew_long_is_shortened_by_the_next_snapshot(
    publisher: LogPublisher, history: History, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_TAIL", (5, 5))
    client = connect(disk=tmp_path)
    assert client.wait_ready(10)
    for number in range(4):
        publisher.set_flag(f"before-{number}", on=True)
    publisher.snapshot()
    for number in range(3):
        publisher.set_flag(f"after-{number}", on=True)
    eventually(client, lambda: client._engine._replica.tail_length == 3)
    assert resources(client) == history.resources
    assert client.status.counters.snapshots == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "not a bundle"])
def test_a_damaged_or_foreign_disk_copy_is_refused_counted_and_replaced(
    publisher: LogPublisher, history: History, connect: Connect, tmp_path: Path, damage: str
) -> None:
    first = connect(disk=tmp_path)
    assert first.wait_ready(10)
    first.close()
    (path,) = tmp_path.glob("*.bundle")
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[:-20])
    elif damage == "flipped":
        middle = data.index(b'"chain"')
        path.write_bytes(data[:middle] + b'"chaim"' + data[middle + 7 :])
    elif damage == "foreign":
        from brownout.wire.bundle import write

        stranger = History(history.environment, seed=b"stranger")
        stranger.set_flag("first", on=True)
        write(path, stranger.bundle())
    else:
        path.write_bytes(b"PK\x03\x04")
    offline = connect("nats://127.0.0.1:1", disk=tmp_path)
    assert (offline.status.state, offline.status.source) == (State.NOT_READY, Source.DEFAULTS)
    assert offline.status.counters.refused_files == 1
    assert resources(offline) == {}
    again = connect(disk=tmp_path)
    assert again.wait_ready(10)
    again.close()
    assert connect("nats://127.0.0.1:1", disk=tmp_path).status.source is Source.DISK


def test_a_bundle_serves_where_neither_nats_nor_a_disk_copy_does(
    history: History, connect: Connect, tmp_path: Path
) -> None:
    from brownout.wire.bundle import write

    path = tmp_path / "shipped.bundle"
    write(path, history.bundle())
    client = connect("nats://127.0.0.1:1", disk=tmp_path / "none", bundle=path)
    assert (client.status.source, resources(client)) == (Source.BUNDLE, history.resources)
    offline = Brownout.offline(path, key=history.sdk_key)
    assert offline.wait_ready(0)
    assert (offline.status.sync, resources(offline)) == ("OFFLINE", history.resources)
    offline.close()


def test_a_dead_or_stalled_sync_thread_is_replaced_and_said_so(
    publisher: LogPublisher, history: History, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect()
    assert client.wait_ready(10)
    first = client._engine._updater
    assert first
    assert first._loop
    first._loop.call_soon_threadsafe(first._loop.stop)
    eventually(client, lambda: client.status.counters.restarts == 1)
    publisher.set_flag("after-death", on=True)
    follows(client, history.revision)
    assert client.status.last_error == ""
