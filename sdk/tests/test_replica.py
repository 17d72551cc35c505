"""The apply rules, without a network: whatever arrives, in whatever order, only the signed history is ever served."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout import wire
from brownout._sync.replica import MAX_BUFFERED, Need, Outcome, Replica, SnapshotRefusedError
from brownout._sync.sink import Resources
from brownout.errors import BundleError
from brownout.status import Counters
from brownout.wire.bundle import Signed
from sdk.tests.history import KID, History, delete, flag

PINNED = History("production").public


@pytest.fixture
def history() -> History:
    made = History("production")
    for number in range(3):
        made.set_flag(f"flag-{number}", on=True)
    return made


def replica_of(history: History) -> Replica:
    """A replica that has taken the history's snapshot."""
    replica = Replica(history.environment, history.verifier(), Resources(), Counters())
    replica.restore(*history.snapshot())
    return replica


def served(replica: Replica) -> dict[tuple[str, str], bytes]:
    assert isinstance(replica._sink, Resources)
    return dict(replica._sink)


def test_the_next_revision_is_applied_and_the_head_again_only_confirms(history: History) -> None:
    replica = replica_of(history)
    message = history.commit(delete("flag-0"))
    assert replica.offer(message) is Outcome.APPLIED
    assert served(replica) == history.resources
    assert replica.offer(message) is Outcome.CONFIRMS
    assert replica.counters.applied == 1


def test_a_gap_is_buffered_and_closed_by_what_the_log_gives(history: History) -> None:
    replica = replica_of(history)
    first, second, third = (history.set_flag("x", on=on) for on in (True, False, True))
    assert replica.offer(third) is Outcome.BEHIND
    assert replica.offer(second) is Outcome.BEHIND
    assert (replica.need, replica.revision) == (Need.FILL, 3)
    assert replica.offer(first, logged=True) is Outcome.APPLIED
    assert (replica.need, replica.revision, replica.counters.gaps) == (Need.NOTHING, 6, 1)
    assert served(replica) == history.resources


def test_what_comes_before_the_snapshot_waits_for_it(history: History) -> None:
    replica = Replica(history.environment, history.verifier(), Resources(), Counters())
    snapshot = history.snapshot()
    assert replica.offer(history.set_flag("late", on=True)) is Outcome.BEHIND
    assert replica.need is Need.SNAPSHOT
    replica.restore(*snapshot)
    assert (replica.need, replica.revision) == (Need.NOTHING, 4)
    assert served(replica) == history.resources


def test_the_buffer_is_bounded(history: History) -> None:
    replica = replica_of(history)
    history.set_flag("missed", on=True)
    for number in range(MAX_BUFFERED + 50):
        replica.offer(history.set_flag(f"n{number}", on=True))
    assert len(replica._buffer) == MAX_BUFFERED
    assert replica.need is Need.FILL


def test_a_newer_epoch_asks_for_a_snapshot_and_refuses_one_of_the_old(history: History) -> None:
    replica = replica_of(history)
    stale = history.snapshot()
    history.resources.clear()
    reset = history.fence(revision=9)
    assert replica.offer(reset) is Outcome.BEHIND
    assert replica.need is Need.SNAPSHOT
    with pytest.raises(SnapshotRefusedError):
        replica.restore(*stale)
    replica.restore(*history.snapshot())
    assert (replica.epoch, replica.revision, replica.need) == (2, 9, Need.NOTHING)
    assert served(replica) == {}


def test_a_reset_waits_for_the_snapshot_that_includes_it(history: History) -> None:
    replica = replica_of(history)
    before = history.snapshot()
    assert replica.offer(history.commit(wire.Operation("reset"))) is Outcome.BEHIND
    with pytest.raises(SnapshotRefusedError):
        replica.restore(*before)
    history.resources["flag", "imported"] = flag(on=True)
    replica.restore(*history.snapshot())
    assert (replica.need, served(replica)) == (Need.NOTHING, history.resources)


def test_another_history_of_the_same_key_changes_nothing_until_the_log_confirms_it(history: History) -> None:
    other = History("production")
    for number in range(4):
        foreign = other.set_flag(f"other-{number}", on=False)
    replica = replica_of(history)
    assert replica.offer(foreign) is Outcome.BEHIND
    assert replica.need is Need.FILL
    assert served(replica) == history.resources
    assert replica.offer(history.log[-1], logged=True) is Outcome.CONFIRMS
    replica.filled()
    assert replica.need is Need.NOTHING


def test_a_log_of_another_history_leads_to_its_snapshot(history: History) -> None:
    other = History("production")
    for number in range(5):
        other.set_flag(f"other-{number}", on=False)
    replica = replica_of(history)
    assert replica.offer(other.log[2], logged=True) is Outcome.BEHIND
    assert replica.need is Need.SNAPSHOT
    replica.restore(*other.snapshot())
    assert served(replica) == other.resources


def test_an_older_snapshot_is_refused(history: History) -> None:
    old = history.snapshot()
    history.set_flag("newer", on=True)
    replica = replica_of(history)
    with pytest.raises(SnapshotRefusedError):
        replica.restore(*old)
    assert served(replica) == history.resources


def test_a_heartbeat_confirms_or_tells_of_more_and_a_recording_says_nothing(history: History) -> None:
    replica = replica_of(history)
    beat = history.heartbeat(interval_s=2.0, fleet=43)
    assert replica.hear(beat) is Outcome.CONFIRMS
    assert (replica.heartbeat_interval_s, replica.fleet) == (2.0, 43)
    assert replica.hear(beat) is Outcome.DROPPED
    history.set_flag("more", on=True)
    assert replica.hear(history.heartbeat()) is Outcome.BEHIND
    assert replica.need is Need.FILL
    assert replica.counters.replays == 1


def test_whoever_is_ahead_can_prove_it(history: History) -> None:
    replica = replica_of(history)
    older = history.heartbeat()
    last = history.set_flag("ahead", on=True)
    replica.offer(last)
    assert replica.hear(older) is Outcome.AHEAD
    assert replica.proof(32_768) == ("log", last)
    kind_and_message = replica.proof(10)
    assert kind_and_message is not None
    assert kind_and_message[0] == "snapshot"


def test_a_rotated_key_is_learned_only_through_the_chain(history: History) -> None:
    replica = replica_of(history)
    keys = history.rotate()
    message = history.set_flag("after", on=True)
    assert replica.offer(message) is Outcome.UNKNOWN_KEY
    stranger = History("production", seed=b"2")
    assert replica.learn(stranger.rotate("k9")) == 0
    assert replica.learn(keys) == 1
    assert replica.offer(message) is Outcome.APPLIED


def test_a_file_written_after_a_rotation_is_trusted_by_who_pins_the_old_key(history: History) -> None:
    replica = replica_of(history)
    replica.learn(history.rotate())
    replica.offer(history.set_flag("after", on=True))
    replica.hear(history.heartbeat())
    bundle = replica.bundle()
    assert bundle is not None

    again = Replica(history.environment, wire.Verifier(history.environment, {KID: PINNED}), Resources(), Counters())
    again.adopt(bundle)

    assert served(again) == history.resources


def test_a_signature_of_one_kind_or_environment_is_worthless_for_another(history: History) -> None:
    replica = replica_of(history)
    beat = history.heartbeat()
    manifest, _ = history.snapshot()
    foreign = History("staging")
    assert replica.offer(Signed(beat.payload, beat.signature)) is Outcome.DROPPED
    assert replica.hear(manifest) is Outcome.DROPPED
    assert replica.offer(foreign.set_flag("x", on=True)) is Outcome.DROPPED
    assert replica.counters.bad_signatures == 3


def test_the_evidence_is_shortened_by_a_newer_snapshot_and_still_proves_the_same(history: History) -> None:
    replica = replica_of(history)
    for number in range(6):
        replica.offer(history.set_flag(f"n{number}", on=True))
    middle = history.snapshot()
    for number in range(2):
        replica.offer(history.set_flag(f"m{number}", on=True))
    replica.rebase(*middle)
    assert replica.tail_length == 2
    bundle = replica.bundle()
    assert bundle is not None
    again = Replica(history.environment, history.verifier(), Resources(), Counters())
    again.adopt(bundle)
    assert served(again) == history.resources
    with pytest.raises(SnapshotRefusedError):
        replica.rebase(*middle)


def corrupted(message: Signed, how: str, at: int) -> Signed:
    if how == "truncated":
        return Signed(message.payload[: at % len(message.payload)], message.signature)
    if how == "flipped":
        index = at % len(message.payload)
        changed = bytes([message.payload[index] ^ 1])
        return Signed(message.payload[:index] + changed + message.payload[index + 1 :], message.signature)
    if how == "unsigned":
        return Signed(message.payload, "")
    if how == "resigned":
        return History("production", seed=b"intruder").sign("log", message.payload)
    if how == "unknown key":
        return Signed(message.payload, "zz." + message.signature.partition(".")[2])
    return message


@given(
    st.lists(
        st.tuples(
            st.integers(0, 11),
            st.sampled_from(["as sent"] * 4 + ["truncated", "flipped", "unsigned", "resigned", "unknown key"]),
            st.integers(0, 10_000),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_whatever_arrives_what_is_served_is_always_one_revision_of_the_history(
    arrivals: list[tuple[int, str, int, bool]],
) -> None:
    history = History("production")
    states = [dict(history.resources)]
    snapshots = [history.snapshot()]
    for number in range(12):
        history.set_flag(f"flag-{number % 4}", on=number % 3 == 0)
        states.append(dict(history.resources))
        snapshots.append(history.snapshot())
    replica = Replica("production", history.verifier(), Resources(), Counters())
    replica.restore(*snapshots[2])
    genuine = {message.payload for message in history.log}
    for index, how, at, logged in arrivals:
        before = replica.revision
        message = corrupted(history.log[index], how, at)
        outcome = replica.offer(message, logged=logged)
        assert replica.revision >= before
        assert served(replica) == states[replica.revision]
        if message.payload not in genuine or how != "as sent":
            assert outcome in {Outcome.DROPPED, Outcome.UNKNOWN_KEY} or message == history.log[index]
    for message in history.log:
        replica.offer(message, logged=True)
    assert served(replica) == history.resources
    assert replica.need is Need.NOTHING


@given(st.data())
def test_an_edited_file_is_refused_whole(data: st.DataObject) -> None:
    history = History("production")
    for number in range(4):
        history.set_flag(f"flag-{number}", on=True)
    bundle = history.bundle(tail=(history.set_flag("x", on=True), history.set_flag("y", on=False)))
    field = data.draw(st.sampled_from(["manifest", "chunk", "tail", "order", "missing", "environment"]))
    if field == "manifest":
        bundle = msgspec.structs.replace(
            bundle, manifest=corrupted(bundle.manifest, "flipped", data.draw(st.integers(0)))
        )
    elif field == "chunk":
        bundle = msgspec.structs.replace(bundle, chunks=(bundle.chunks[0][:-1] + b"!",))
    elif field == "tail":
        broken = corrupted(bundle.tail[1], "flipped", data.draw(st.integers(0)))
        bundle = msgspec.structs.replace(bundle, tail=(bundle.tail[0], broken))
    elif field == "order":
        bundle = msgspec.structs.replace(bundle, tail=bundle.tail[::-1])
    elif field == "missing":
        bundle = msgspec.structs.replace(bundle, tail=bundle.tail[1:])
    else:
        bundle = msgspec.structs.replace(bundle, environment="staging")
    replica = Replica("production", history.verifier(), Resources(), Counters())
    with pytest.raises(BundleError):
        replica.adopt(bundle)
    assert (replica.revision, served(replica)) == (-1, {})


def newer(history: History, **envelope: object) -> Signed:
    """The next commit as a newer control plane would write it."""
    content = msgspec.json.decode(history.commit(delete("flag-0")).payload)
    payload = msgspec.json.encode({**content, **envelope})
    history.chain = wire.chain(content["pch"], payload)
    return history.sign("log", payload)


def test_fields_of_a_newer_commit_are_passed_over(history: History) -> None:
    replica = replica_of(history)
    op = {"op": "del", "kind": "flag", "key": "flag-0", "newer": 1}
    assert replica.offer(newer(history, about_pipeline="ci/7", ops=[op])) is Outcome.APPLIED
    assert served(replica) == history.resources


@pytest.mark.parametrize("ops", [[{"op": "move", "kind": "flag", "key": "flag-0", "to": "flag-9"}], {"packed": "…"}])
def test_a_step_that_only_a_newer_version_knows_is_reached_through_a_snapshot(history: History, ops: object) -> None:
    replica = replica_of(history)
    assert replica.offer(newer(history, ops=ops)) is Outcome.BEHIND
    assert replica.need is Need.SNAPSHOT
    replica.restore(*history.snapshot())
    assert (replica.need, replica.revision) == (Need.NOTHING, history.revision)
    assert served(replica) == history.resources
