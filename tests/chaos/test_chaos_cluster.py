"""The topology of compose.yaml as processes: Postgres, a NATS cluster of three, two control planes; and SDKs."""

import json
import os
import random
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from brownout.wire import Subjects
from controlplane.embedded.nats import EmbeddedNats
from tests.chaos.conftest import Measured
from tests.chaos.fleet import Fleet
from tests.chaos.system import ENVIRONMENT, START_S, System, await_true
from tests.chaos.test_chaos_one_server import PATIENCE_S, flowing
from tests.chaos.verdict import judge
from tests.chaos.writer import Acknowledged, Writer

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("chaos")]


@pytest.fixture(scope="module")
def system(folder: Path) -> Iterator[System]:
    with System(folder, nodes=3, replicas=2) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(system: System) -> Iterator[Fleet]:
    with Fleet(system) as made:
        yield made


@pytest.fixture(autouse=True)
def whole(system: System, fleet: Fleet) -> None:
    """However the test before left it: SDKs that have not come back yet would be taken for what this one breaks."""
    await_true(lambda: all(replica.ready for replica in system.replicas), START_S, "every replica is ready")
    await_true(fleet.settled, START_S, "every SDK is live and knows the heartbeat")


def leader(system: System) -> EmbeddedNats:
    """The node that leads the log stream, once all agree."""
    believed: list[str] = []

    def agreed() -> bool:
        believed[:] = _leading(system)
        return len(believed) == 1

    await_true(agreed, START_S, "one node leads the log")
    return next(node for node in system.nodes if node.name in believed)


def _leading(system: System) -> set[str]:
    """Who leads the log stream, as the nodes believe; whoever has just come back may not know."""
    stream = Subjects(ENVIRONMENT).log_stream
    names: set[str] = set()
    for node in system.nodes:
        url = f"http://127.0.0.1:{node.monitor_port}/jsz?accounts=true&streams=true"
        with urllib.request.urlopen(url, timeout=5) as answer:
            details = json.load(answer)
        streams = [found for account in details["account_details"] for found in account["stream_detail"]]
        names |= {found["cluster"].get("leader", "") for found in streams if found["name"] == stream}
    return names - {""}


def longest_gap(fleet: Fleet, acknowledged: list[Acknowledged]) -> float:
    """The longest that any commit took from its acknowledgement to the last SDK."""
    return max(fleet.lags((done.position, done.at) for done in acknowledged))


def test_the_streams_are_on_three_nodes(system: System, fleet: Fleet) -> None:
    node = leader(system)
    url = f"http://127.0.0.1:{node.monitor_port}/jsz?accounts=true&streams=true&config=true"
    with urllib.request.urlopen(url, timeout=5) as answer:
        streams = [s for account in json.load(answer)["account_details"] for s in account["stream_detail"]]
    subjects = Subjects(ENVIRONMENT)
    replicas = {s["name"]: s["config"]["num_replicas"] for s in streams}
    assert replicas == {subjects.log_stream: 3, subjects.snapshot_stream: 3}


@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_a_node_killed(system: System, fleet: Fleet, measured: Measured, long: bool, victim: str) -> None:
    for _ in range(5 if long else 1):
        judge(system, fleet, [])
        with Writer(system) as writer:
            flowing(writer)
            leads = leader(system)
            node = leads if victim == "leader" else random.choice([n for n in system.nodes if n is not leads])
            node.kill()
            try:
                flowing(writer, 60)
                last = writer.stop()
                fleet.await_at(last.position, PATIENCE_S)
            finally:
                node.start()
        lag = longest_gap(fleet, writer.acknowledged)
        measured(f"the log's {victim} of three is killed: commit acknowledged → last SDK", lag, 1 + 2)
        judge(system, fleet, writer.acknowledged)


def test_a_node_that_hangs(system: System, fleet: Fleet, measured: Measured) -> None:
    """SIGSTOP: its connections stay open and say nothing."""
    judge(system, fleet, [])
    with Writer(system) as writer:
        flowing(writer)
        node = leader(system)
        os.kill(node.pid, signal.SIGSTOP)
        try:
            hung = time.monotonic()
            flowing(writer, 20)
            fleet.await_at(writer.acknowledged[-1].position, PATIENCE_S)
            took = time.monotonic() - hung
            flowing(writer, 20)
            last = writer.stop()
            fleet.await_at(last.position, PATIENCE_S)
        finally:
            os.kill(node.pid, signal.SIGCONT)
    backoff = 10.0
    measured("a node hangs: its SDKs go on elsewhere", took, 3.5 * system.heartbeat_s + 2 + backoff)
    node.wait_healthy()
    judge(system, fleet, writer.acknowledged)


def test_a_control_plane_killed_for_good(system: System, fleet: Fleet, measured: Measured) -> None:
    survivor = system.replicas[1]
    await_true(lambda: survivor.ready, START_S, "ready")
    with Writer(system) as writer:
        flowing(writer)
        system.replicas[0].kill()
        flowing(writer)
        last = writer.stop()
    fleet.await_at(last.position, PATIENCE_S)
    measured("one of two control planes dies", longest_gap(fleet, writer.acknowledged), 2)
    system.replicas[0].start()
    judge(system, fleet, writer.acknowledged)
