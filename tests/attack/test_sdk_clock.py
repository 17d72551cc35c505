"""Time against an SDK: replayed streams and heartbeats, wrong clocks on hosts and replicas, processes that stand still.

A real nats-server, real clients; heartbeats and commits are signed as the control plane signs them.
"""

import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from brownout import Brownout, Source, State
from brownout._sync import engine
from brownout._sync.clock import ESTABLISHED, SignedTime, wall_ms
from brownout.wire.bundle import Signed
from sdk.tests.history import History, put
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess
from sdk.tests.waiting import PATIENCE_S, eventually, follows

ROOT = Path(__file__).parents[2]
HOUR_S, DAY_S = 3_600, 86_400
WRONG = [HOUR_S, -HOUR_S, DAY_S, -DAY_S]
BEAT_S = 0.1
STALE_S = 1.0
RETURN_S = 2 * PATIENCE_S
Connect = Callable[..., Brownout]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsProcess]:
    running = NatsProcess(tmp_path_factory.mktemp("nats")).start()
    yield running
    running.stop(kill=True)


@pytest.fixture
def history() -> History:
    made = History(f"env-{uuid4().hex[:12]}")
    made.set_flag("first", on=False)
    return made


@pytest.fixture
def publisher(server: NatsProcess, history: History) -> Iterator[LogPublisher]:
    with LogPublisher(server.url, history, heartbeat_s=BEAT_S) as running:
        yield running


@pytest.fixture
def connect(history: History) -> Iterator[Connect]:
    opened: list[Brownout] = []

    def connect(server: NatsProcess, **options: Any) -> Brownout:
        given = {"key": history.sdk_key, "environment": history.environment, "disk": False, "stale_after_s": STALE_S}
        opened.append(Brownout.connect(server.url, **(given | options)))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The error (s) of the wall clock of every client that is connected from now on; it may jump."""
    error = [0]
    monkeypatch.setattr(engine, "SignedTime", lambda: SignedTime(wall_ms=lambda: wall_ms() + error[0] * 1000))
    return error


def activation(history: History, lasts_s: float, key: str = "now") -> Any:
    now = history.now()
    spec = {
        "profile": "contain", "reason": "a test", "actor": "ana", "activated_at": now.isoformat(),
        "expires_at": (now + timedelta(seconds=lasts_s)).isoformat(),
    }  # fmt: skip
    return put(key, msgspec.json.encode(spec), "safe_mode_activation")


def contain() -> Any:
    return put("contain", msgspec.json.encode({"max_attempts": 1}), "safe_mode_profile")


def active(client: Brownout) -> int:
    return len(client.held.safe_mode)


@pytest.mark.parametrize("error_s", WRONG)
def test_an_activation_begins_and_ends_by_the_servers_time_whatever_the_hosts_clock_says(
    server: NatsProcess, publisher: LogPublisher, history: History, connect: Connect, wall: list[int], error_s: int
) -> None:
    wall[0] = error_s
    client = connect(server)
    assert client.wait_ready(PATIENCE_S)
    publisher.commit(contain(), activation(history, 1_800))
    follows(client, history.revision)
    assert active(client) == 1
    eventually(client, lambda: abs((client.status.clock_skew_s or 0) - error_s) < 5)
    assert client.status.state is State.READY
    publisher.commit(activation(history, 1, "short"))
    follows(client, history.revision)
    eventually(client, lambda: active(client) == 1)
    assert history.now() >= client._engine.time.now() - timedelta(seconds=1)


@pytest.mark.parametrize("jump_s", WRONG)
def test_a_clock_that_jumps_ends_nothing_and_revives_nothing(
    server: NatsProcess, publisher: LogPublisher, history: History, connect: Connect, wall: list[int], jump_s: int
) -> None:
    client = connect(server)
    assert client.wait_ready(PATIENCE_S)
    publisher.commit(contain(), activation(history, 1_800), activation(history, 0.5, "short"))
    follows(client, history.revision)
    eventually(client, lambda: active(client) == 1)
    causes: list[str] = []
    client.on_change(lambda change: causes.append(change.cause))
    wall[0] = jump_s
    publisher.set_flag("first", on=True)
    follows(client, history.revision)
    client._engine._tick()
    eventually(client, lambda: bool(causes))
    assert (active(client), client.status.state, causes) == (1, State.READY, ["commit"])


@pytest.mark.parametrize("error_s", WRONG)
def test_a_replica_with_a_wrong_clock_changes_nothing(
    server: NatsProcess, publisher: LogPublisher, history: History, connect: Connect, error_s: int
) -> None:
    client = connect(server)
    assert client.wait_ready(PATIENCE_S)
    publisher.commit(contain(), activation(history, 1_800))
    follows(client, history.revision)
    for _ in range(3 * ESTABLISHED):
        publisher.say(history.heartbeat(ts=wall_ms() + error_s * 1000), f"bo.{history.environment}.hb")
        history._beaten = 0
        time.sleep(BEAT_S / 2)
        assert active(client) == 1
    assert client.wait_ready(PATIENCE_S)
    assert abs(client._engine.time.now_ms() - wall_ms()) < 2_500
    publisher.commit(activation(history, 1, "short"))
    follows(client, history.revision)
    eventually(client, lambda: active(client) == 1)


class Replayed:
    """The streams as they were at revision 100, and the heartbeats until then; the world has gone on to 102."""

    def __init__(self, directory: Path, history: History) -> None:
        self.real = NatsProcess(directory / "real").start()
        self.heartbeats: list[Signed] = []
        while history.revision < 100:
            history.set_flag(f"n{history.revision % 7}", on=True)
        with LogPublisher(self.real.url, history, beating=False):
            self.heartbeats = [history.heartbeat(interval_s=BEAT_S) for _ in range(30)]
        self.real.stop()
        shutil.copytree(directory / "real" / "jetstream", directory / "rogue" / "jetstream")
        self.rogue = NatsProcess(directory / "rogue").start()
        self.real.start()

    def replay(self, publisher: LogPublisher, subject: str) -> None:
        for message in self.heartbeats:
            publisher.say(message, subject)
            time.sleep(BEAT_S / 4)


@pytest.fixture
def replayed(tmp_path: Path, history: History) -> Iterator[Replayed]:
    made = Replayed(tmp_path, history)
    yield made
    made.real.stop(kill=True)
    made.rogue.stop(kill=True)


def test_replayed_streams_and_heartbeats_are_never_ready(
    replayed: Replayed, history: History, connect: Connect, tmp_path: Path
) -> None:
    hb = f"bo.{history.environment}.hb"
    with LogPublisher(replayed.real.url, history, heartbeat_s=BEAT_S, creates=False) as publisher:
        publisher.set_flag("first", on=True)
        publisher.set_flag("first", on=False)
        client = connect(replayed.real, disk=tmp_path / "disk")
        assert client.wait_ready(PATIENCE_S)
        assert client.status.revision == 102
        copy = client._engine._disk
        assert copy is not None
        eventually(client, lambda: copy._saved[1] == 102)
    # The server that it follows turns out to replay: only its address stays the same.
    replayed.real.stop()
    replayed.rogue.stop()
    replayed.rogue._port = replayed.real._port
    replayed.rogue.start()
    eventually(client, lambda: client.status.counters.reconnects > 0 and client.status.sync != "DISCONNECTED")
    with LogPublisher(replayed.rogue.url, history, creates=False, beating=False) as attacker:
        fresh = connect(replayed.rogue)
        assert fresh.wait_configured(PATIENCE_S)
        assert (fresh.status.revision, fresh.status.state) == (100, State.STALE)
        assert not fresh.wait_ready(2 * STALE_S)
        restarted = connect(replayed.rogue, disk=tmp_path / "disk")
        assert (restarted.status.revision, restarted.status.source) == (102, Source.DISK)
        ages = [client.status.age_s, restarted.status.age_s]
        eventually(client, lambda: client.status.state is State.STALE)
        for _ in range(2):
            replayed.replay(attacker, hb)
            assert [each.status.state for each in (client, restarted)] == [State.STALE] * 2
            assert [each.status.revision for each in (client, restarted)] == [102, 102]
        later = [client.status.age_s, restarted.status.age_s]
        assert all(a is not None and b is not None and b > a for a, b in zip(ages, later, strict=True))
        assert client.status.counters.replays >= len(replayed.heartbeats)
        # One that has never heard anything newer can be shown the past for as long as the recording lasts, once.
        time.sleep(STALE_S)
        replayed.replay(attacker, hb)
        eventually(fresh, lambda: fresh.status.state is State.STALE)
        assert fresh.status.revision == 100


def test_a_process_that_was_suspended_knows_the_time_when_it_wakes_up(
    server: NatsProcess, publisher: LogPublisher, history: History
) -> None:
    script = """
        import json, sys
        from brownout import Brownout
        client = Brownout.connect(sys.argv[1], key=sys.argv[2], environment=sys.argv[3], disk=False, stale_after_s=1)
        for _ in sys.stdin:
            status = client.status
            print(json.dumps([status.state, status.revision, len(client.held.safe_mode)]), flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), server.url, history.sdk_key, history.environment]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        stdin, stdout = child.stdin, child.stdout

        def ask() -> list[Any]:
            stdin.write("?\n")
            stdin.flush()
            found: list[Any] = json.loads(stdout.readline())
            return found

        def until(wanted: list[Any]) -> None:
            for _ in range(int(RETURN_S / 0.05)):
                if (found := ask()) == wanted:
                    return
                time.sleep(0.05)
            raise AssertionError(found)

        until(["READY", history.revision, 0])
        publisher.commit(contain(), activation(history, 1_800), activation(history, 4, "short"))
        until(["READY", history.revision, 2])
        child.send_signal(signal.SIGSTOP)
        time.sleep(4.5)
        child.send_signal(signal.SIGCONT)
        until(["READY", history.revision, 1])
        stdin.close()


def test_a_forked_child_knows_the_time_that_its_parent_knew(
    tmp_path: Path, history: History, connect: Connect, wall: list[int]
) -> None:
    wall[0] = HOUR_S
    own = NatsProcess(tmp_path / "nats").start()
    with LogPublisher(own.url, history, heartbeat_s=BEAT_S) as publisher:
        client = connect(own, stale_after_s=HOUR_S)
        assert client.wait_ready(PATIENCE_S)
        publisher.commit(contain(), activation(history, 1_800))
        follows(client, history.revision)
        publisher.beating = False
    own.stop(kill=True)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_tell, args=(client, results))
    child.start()
    state, skew_s, in_force = results.get(timeout=PATIENCE_S)
    child.join(PATIENCE_S)
    assert (state, in_force) == (State.READY, 1)
    assert abs(skew_s - HOUR_S) < 5


def _tell(client: Brownout, results: Any) -> None:
    client._engine._tick()
    results.put((client.status.state, client.status.clock_skew_s, active(client)))


@pytest.mark.parametrize("error_s", WRONG)
def test_without_nats_the_wall_clock_at_the_start_counts_and_no_jump_after_it(
    history: History, connect: Connect, wall: list[int], server: NatsProcess, tmp_path: Path, error_s: int
) -> None:
    with LogPublisher(server.url, history, heartbeat_s=BEAT_S) as publisher:
        first = connect(server, disk=tmp_path)
        assert first.wait_ready(PATIENCE_S)
        publisher.commit(contain(), activation(history, 1_800), activation(history, 0.5, "short"))
        follows(first, history.revision)
        eventually(first, lambda: active(first) == 1)
        publisher.beating = False
        first.close()
    nowhere = NatsProcess(tmp_path / "nowhere")
    second = connect(nowhere, disk=tmp_path)
    assert (second.status.source, active(second)) == (Source.DISK, 1)
    wall[0] = error_s
    second._engine._tick()
    assert (second.status.state, second.status.clock_skew_s, active(second)) == (State.STALE, None, 1)
