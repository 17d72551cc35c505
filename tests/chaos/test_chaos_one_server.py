"""Three control planes, one Postgres, one NATS server, twenty SDKs, commits all the time; and everything dies.

The bounds are those of docs/operations.md, measured from the outside.
"""

import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.conftest import Measured
from tests.chaos.fleet import Fleet
from tests.chaos.system import START_S, Replica, System, await_true
from tests.chaos.verdict import judge, log_head
from tests.chaos.writer import Writer

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("chaos")]

PATIENCE_S = 60
"""How long we wait before we give up measuring."""


@pytest.fixture(scope="module")
def system(folder: Path) -> Iterator[System]:
    with System(folder, replicas=3) as made:
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


def flowing(writer: Writer, count: int = 10) -> None:
    """Returns when `count` more commits were acknowledged."""
    before = len(writer.acknowledged)
    await_true(lambda: len(writer.acknowledged) >= before + count, START_S, "commits go on")


def serving_without(system: System, victim: Replica) -> bool:
    return any(other.ready for other in system.replicas if other is not victim)


def test_control_planes_killed_at_random(system: System, fleet: Fleet, measured: Measured, long: bool) -> None:
    with Writer(system) as writer:
        for _ in range(40 if long else 8):
            time.sleep(random.uniform(0.3, 1.2))
            victim = random.choice([replica for replica in system.replicas if replica.running])
            await_true(partial(serving_without, system, victim), START_S, "another replica can take over")
            victim.kill()
            victim.start(wait=False)
        flowing(writer)
        last = writer.stop()
    fleet.await_at(last.position, PATIENCE_S)
    judge(system, fleet, writer.acknowledged)
    lags = fleet.lags((done.position, done.at) for done in writer.acknowledged)
    measured("replicas killed at random: commit acknowledged → last SDK", max(lags), 1 + 1)
    assert not writer.refusals


def test_a_commit_whose_author_died_is_published_by_another(system: System, fleet: Fleet, measured: Measured) -> None:
    acknowledged = []
    for victim in system.replicas:
        with Writer(system) as writer:
            flowing(writer, 1)
            victim.kill()
            flowing(writer, 3)
            last = writer.stop()
        measured("a replica dies between commit and publish", fleet.await_at(last.position, PATIENCE_S), 1 + 1)
        victim.start(wait=False)
        acknowledged += writer.acknowledged
    judge(system, fleet, acknowledged)


def test_postgres_gone(system: System, fleet: Fleet, measured: Measured) -> None:
    with Writer(system) as writer:
        flowing(writer)
        system.postgres.kill()
        time.sleep(3)
        reports = fleet.dump()
        assert {(r.state, r.sync) for r in reports} == {("READY", "LIVE")}
        assert len({(r.epoch, r.revision, r.digest) for r in reports}) == 1
        system.postgres.start()
        flowing(writer)
        last = writer.stop()
    measured("Postgres is back: commit acknowledged → last SDK", fleet.lags([(last.position, last.at)])[0], 2)
    judge(system, fleet, writer.acknowledged)


def test_nats_gone_for_a_while(system: System, fleet: Fleet, measured: Measured, long: bool) -> None:
    (node,) = system.nodes
    for _ in range(5 if long else 1):
        with Writer(system) as writer:
            flowing(writer)
            node.kill()
            flowing(writer, 20)
            node.start()
            up = time.monotonic()
            last = writer.stop()
        fleet.await_at(last.position, PATIENCE_S)
        measured("NATS is back: last SDK has what it missed", max(fleet.first_at(last.position)) - up, 10)
        judge(system, fleet, writer.acknowledged)


def test_nats_killed_and_started_again_at_once(system: System, fleet: Fleet, measured: Measured, long: bool) -> None:
    """SDKs are back before those that answer for them."""
    (node,) = system.nodes
    for _ in range(20 if long else 2):
        with Writer(system) as writer:
            flowing(writer)
            node.kill()
            node.start()
            up = time.monotonic()
            flowing(writer)
            last = writer.stop()
        fleet.await_at(last.position, PATIENCE_S)
        late = max(fleet.first_at(last.position)) - max(up, last.at)
        measured("NATS is killed and back at once: last SDK has what it missed", late, 10)
        judge(system, fleet, writer.acknowledged)


def test_nats_data_wiped(system: System, fleet: Fleet, measured: Measured, long: bool) -> None:
    (node,) = system.nodes
    for _ in range(5 if long else 1):
        epoch = judge(system, fleet, []).head.epoch
        with Writer(system) as writer:
            flowing(writer)
            node.kill()
            system.wipe(node)
            flowing(writer, 5)
            node.start()
            up = time.monotonic()
            missed = writer.acknowledged[-1]
            await_true(lambda missed=missed: log_head(system) >= missed.revision, PATIENCE_S, "rebuilt")  # type: ignore[misc]
            measured("NATS is back, empty: its log has what it missed", time.monotonic() - up, 5)
            last = writer.stop()
        fleet.await_at(last.position, PATIENCE_S)
        measured("NATS is back, empty: last SDK has what it missed", max(fleet.first_at(missed.position)) - up, 10)
        assert judge(system, fleet, writer.acknowledged).head.epoch == epoch
        with Fleet(system, 5, name="newcomers") as newcomers:
            newcomers.await_at(last.position, PATIENCE_S)


def test_the_last_message_before_silence(system: System, fleet: Fleet, measured: Measured) -> None:
    """It is in the log but reached nobody: the stream does not republish for a moment."""
    judge(system, fleet, [])
    system.republish(False)
    try:
        with Writer(system) as writer:
            flowing(writer, 1)
            last = writer.stop()
        fleet.await_at(last.position, PATIENCE_S)
    finally:
        system.republish(True)
    lag = max(fleet.lags([(last.position, last.at)]))
    measured("the last message before silence was lost", lag, system.heartbeat_s + 1)
    judge(system, fleet, writer.acknowledged)


def test_every_control_plane_dead(system: System, fleet: Fleet) -> None:
    """They are also who answers NATS about SDK keys here, until `brownout authd` does."""
    head = judge(system, fleet, []).head
    authd = system.responder()
    for replica in system.replicas:
        replica.kill()
    try:
        with Fleet(system, 2, name="newcomers") as newcomers:
            time.sleep(5 * system.heartbeat_s)
            assert {(r.state, r.sync, r.revision) for r in fleet.dump()} == {("READY", "LIVE", head.revision)}
            assert {r.state for r in newcomers.dump()} == {"NOT_READY"}
            authd.start(wait=False)
            newcomers.await_at((head.epoch, head.revision), PATIENCE_S)
    finally:
        for replica in system.replicas:
            replica.start(wait=False)
        await_true(lambda: all(r.ready for r in system.replicas), START_S, "every replica is back")
        authd.kill()


def test_a_client_that_finds_no_nats(system: System, fleet: Fleet, tmp_path: Path) -> None:
    (node,) = system.nodes
    head = judge(system, fleet, []).head
    with Fleet(system, 2, name="keepers", disk=tmp_path) as keepers:
        keepers.await_at((head.epoch, head.revision), PATIENCE_S)
        held = {report.digest for report in keepers.dump()}
        keepers.leave()
    node.kill()
    with (
        Fleet(system, 2, name="with-copy", disk=tmp_path) as with_copy,
        Fleet(system, 2, name="without-copy") as without,
    ):
        try:
            for report in with_copy.dump():
                assert (report.state, report.source, {report.digest}) == ("STALE", "disk", held)
            await_true(lambda: all(r.last_error for r in without.dump()), PATIENCE_S, "the status says why")
            for report in without.dump():
                assert (report.state, report.source, report.revision) == ("NOT_READY", "defaults", -1)
        finally:
            node.start()
        for waiting in (with_copy, without, fleet):
            waiting.await_at((head.epoch, head.revision), PATIENCE_S)


@pytest.mark.parametrize("wiped", [False, True], ids=["nats kept", "nats wiped too"])
def test_postgres_restored_to_an_older_point(system: System, fleet: Fleet, measured: Measured, wiped: bool) -> None:
    (node,) = system.nodes
    with Writer(system) as kept:
        flowing(kept)
        kept.stop()
    saved = system.save_postgres()
    with Writer(system) as lost:
        flowing(lost, 25)
        doomed = lost.stop()
    fleet.await_at(doomed.position, PATIENCE_S)
    system.restore_postgres(saved)
    if wiped:
        node.kill()
        system.wipe(node)
        node.start()
    system.postgres.start()
    started = time.monotonic()
    fence = (doomed.epoch + 1, 0)
    fleet.await_at(fence, PATIENCE_S)
    took = max(fleet.first_at(fence)) - started
    if wiped:
        # Only SDKs remember, and they say so when a heartbeat contradicts them.
        measured("Postgres is back, older, and NATS is empty: last SDK fenced", took, 5 + 3.5 * system.heartbeat_s)
    else:
        measured("Postgres is back, older: last SDK fenced", took, 5)
    with Writer(system) as after:
        flowing(after)
        after.stop()
    state = judge(system, fleet, kept.acknowledged + after.acknowledged)
    assert state.head.epoch > doomed.epoch
