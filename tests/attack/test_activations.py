"""An environment flooded with activations: an SDK that follows it does the work of each commit, and no more.

A real nats-server and the public client; commits are signed as the control plane signs them. What is asserted are counts.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brownout import Brownout, Change, State
from brownout._sync.updater import Updater
from brownout.model import reading
from sdk.tests.history import History, flag, put
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess
from sdk.tests.waiting import PATIENCE_S, eventually, follows
from tests.bench.bench_activations import activation, commits, environment

BACKLOG = 900


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsProcess]:
    running = NatsProcess(tmp_path_factory.mktemp("nats")).start()
    yield running
    running.stop(kill=True)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a spec of each kind was decoded."""
    counted: Counter[str] = Counter()

    def read(kind: str, spec: bytes) -> Any:
        counted[kind] += 1
        return reading.read(kind, spec)

    monkeypatch.setattr("brownout.evaluation.compile.read", read)
    return counted


def connect(server: NatsProcess, history: History, **options: Any) -> Brownout:
    return Brownout.connect(server.url, key=history.sdk_key, environment=history.environment, disk=False, **options)


@pytest.mark.parametrize("activations", [100, 2_000])
def test_a_flooded_environment_is_followed_by_what_commits_change(
    server: NatsProcess, read: Counter[str], activations: int, request: pytest.FixtureRequest
) -> None:
    rounds = 1_000 if request.config.getoption("--chaos", default="") == "long" else 200
    history = environment(activations, f"flooded-{activations}")
    with LogPublisher(server.url, history) as publisher, connect(server, history) as client:
        follows(client, history.revision)
        assert client.policy("reply", {"targeting_key": "u-1"}).safe_mode.active
        read.clear()
        puts = 0
        for _, operation in zip(range(rounds), commits(activations), strict=False):
            puts += operation.kind == "safe_mode_activation" and operation.op == "put"
            publisher.commit(operation)
        follows(client, history.revision)
        assert read["safe_mode_activation"] == puts, "those that a commit put, and none of the others"
        eventually(client, lambda: client.status.state is State.READY)
        assert client.status.counters.restarts == 0
        found = {(ref.kind, ref.key): spec for ref, spec in client._compiled.resources.items()}
        assert found == history.resources


def test_a_backlog_is_announced_in_few_changes_and_in_order(
    server: NatsProcess, read: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK starts from a snapshot and hears at once that it is hundreds of revisions behind."""
    history = environment(500, "backlog")
    changes: list[Change] = []
    gate = threading.Event()
    run = Updater._run

    def wait_first(self: Updater) -> None:
        gate.wait(PATIENCE_S)
        run(self)

    monkeypatch.setattr(Updater, "_run", wait_first)
    with LogPublisher(server.url, history) as publisher, connect(server, history) as client:
        client.on_change(changes.append)
        for number in range(BACKLOG):
            publisher.commit(put(f"late-{number}", activation(number), "safe_mode_activation"))
        gate.set()
        follows(client, history.revision)
        eventually(client, lambda: bool(changes) and changes[-1].revision == history.revision)
        assert client.status.counters.fills == client.status.counters.applied == BACKLOG
        assert [change.revision for change in changes] == sorted({change.revision for change in changes})
        assert len(changes) <= 4, "a snapshot, and a change for each answer of the log"
        assert frozenset().union(*(change.resources for change in changes)) == {
            ("safe_mode_activation", f"late-{number}") for number in range(BACKLOG)
        }
        assert read["safe_mode_activation"] == 500 + BACKLOG


def test_a_restart_from_disk_holds_the_same(server: NatsProcess, tmp_path: Path) -> None:
    """What was applied in batches is evidence like any other: a file of it serves the next process."""
    history = environment(100, "from-disk")
    with LogPublisher(server.url, history) as publisher:
        with connect(server, history) as client:
            follows(client, history.revision)
        for number in range(20):
            publisher.commit(put(f"late-{number}", flag(on=True)))
        options = {"key": history.sdk_key, "environment": history.environment, "disk": tmp_path}
        with Brownout.connect(server.url, **options) as client:  # type: ignore[arg-type]
            follows(client, history.revision)
    with Brownout.connect("nats://127.0.0.1:1", **options) as client:  # type: ignore[arg-type]
        assert client.status.revision == history.revision
        assert {(ref.kind, ref.key): spec for ref, spec in client._compiled.resources.items()} == history.resources
