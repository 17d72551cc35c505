"""Convergence as the fleet reports it, with time in our hands."""

import random
from collections import Counter

import pytest

from controlplane.telemetry.fleet_state import (
    CLOCK_SAMPLES,
    LAGGING_S,
    LIVE_S,
    TRACKED,
    Convergence,
    FleetState,
    Head,
    Seen,
    clock_samples,
)


def seen(name: str, revision: int, at: float, *, state: str = "READY", closed: bool = False, epoch: int = 1) -> Seen:
    return Seen(name, "support", "0.1.0", Head(epoch, revision), state, 0.0, at, at, at, closed)


@pytest.fixture
def fleet() -> FleetState:
    """Twenty instances at revision 1, which is the head."""
    state = FleetState()
    state.published(Head(1, 1), 0.0)
    for i in range(20):
        state.heard(seen(f"i-{i:02d}", 1, 1.0))
    return state


def test_thresholds_are_timed_from_the_publication(fleet: FleetState) -> None:
    fleet.published(Head(1, 2), 10.0)
    for i in range(20):
        fleet.heard(seen(f"i-{i:02d}", 2, 10.0 + (i + 1) / 10))

    found = fleet.convergence(2)

    assert found is not None
    assert (found.took_50_ms, found.took_95_ms, found.took_100_ms) == (1_000, 1_900, 2_000)
    assert (found.live, found.applied, found.percent) == (20, 20, 100.0)


def test_an_instance_that_skips_a_revision_has_applied_it(fleet: FleetState) -> None:
    fleet.published(Head(1, 2), 10.0)
    fleet.published(Head(1, 3), 10.5)
    for i in range(20):
        fleet.heard(seen(f"i-{i:02d}", 3, 11.0))

    assert [c.took_100_ms for c in fleet.convergences()[-2:]] == [1_000, 500]


def test_an_instance_faster_than_our_own_subscription_counts(fleet: FleetState) -> None:
    for i in range(20):
        fleet.heard(seen(f"i-{i:02d}", 2, 10.0))
    fleet.published(Head(1, 2), 10.1)

    found = fleet.convergence(2)
    assert found is not None
    assert found.took_100_ms == 0


def test_laggards_are_named_furthest_behind_first_and_only_after_a_while(fleet: FleetState) -> None:
    fleet.published(Head(1, 2), 10.0)
    for i in range(18):
        fleet.heard(seen(f"i-{i:02d}", 2, 10.1))

    assert fleet.laggards(10.1) == []
    assert [s.instance for s in fleet.laggards(10.0 + LAGGING_S)] == ["i-18", "i-19"]
    assert [s.instance for s in fleet.laggards(10.1, Head(1, 2))] == ["i-18", "i-19"]
    assert fleet.applied(Head(1, 2)) == 18


def test_the_silent_and_the_closed_are_no_longer_waited_for(fleet: FleetState) -> None:
    fleet.published(Head(1, 2), 10.0)
    for i in range(18):
        fleet.heard(seen(f"i-{i:02d}", 2, 11.0))
    fleet.heard(seen("i-18", 1, 12.0, closed=True))
    fleet.expire(1.0 + LIVE_S + 1)

    found = fleet.convergence(2)
    assert found is not None
    assert (found.live, found.applied) == (18, 18)
    assert found.took_100_ms == 22_000
    assert fleet.live == 18


def test_an_instance_that_joins_behind_is_waited_for(fleet: FleetState) -> None:
    fleet.published(Head(1, 2), 10.0)
    fleet.heard(seen("new", 1, 10.1))
    for i in range(20):
        fleet.heard(seen(f"i-{i:02d}", 2, 11.0))
    found = fleet.convergence(2)
    assert found is not None
    assert (found.applied, found.live, found.took_100_ms) == (20, 21, None)

    fleet.heard(seen("new", 2, 13.0))

    assert found.took_100_ms == 3_000


def test_without_instances_there_is_nothing_to_converge() -> None:
    fleet = FleetState()
    fleet.published(Head(1, 1), 0.0)

    assert fleet.head == Head(1, 1)
    assert fleet.convergence() is None


def test_one_that_is_stuck_lags_however_often_something_is_committed(fleet: FleetState) -> None:
    for i in range(20):
        fleet.published(Head(1, 2 + i), 10.0 + i)
        for name in range(19):
            fleet.heard(seen(f"i-{name:02d}", 2 + i, 10.0 + i))
    assert [s.instance for s in fleet.laggards(29.0)] == ["i-19"]


def test_one_that_follows_a_second_late_never_lags(fleet: FleetState) -> None:
    for i in range(20):
        fleet.published(Head(1, 2 + i), 10.0 + i)
        for name in range(20):
            fleet.heard(seen(f"i-{name:02d}", 1 + i, 10.0 + i))
        assert fleet.laggards(10.0 + i) == []


def test_a_new_epoch_is_ahead_whatever_its_revision(fleet: FleetState) -> None:
    fleet.published(Head(2, 1), 10.0)

    assert fleet.applied(fleet.head) == 0
    assert len(fleet.laggards(20.0)) == 20


def test_repeated_presence_changes_nothing(fleet: FleetState) -> None:
    before = fleet.version
    for _ in range(3):
        fleet.heard(seen("i-00", 1, 2.0))

    assert fleet.version == before


def test_a_burst_of_commits_is_bounded(fleet: FleetState) -> None:
    for revision in range(2, TRACKED + 50):
        fleet.published(Head(1, revision), 10.0)
    fleet.forget_done(10)

    assert len(fleet.convergences()) == TRACKED + 10
    assert fleet.head == Head(1, TRACKED + 49)


def test_what_was_heard_is_taken_once(fleet: FleetState) -> None:
    assert len(fleet.take_touched()) == 20
    assert fleet.take_touched() == []
    assert fleet.revisions() == [(Head(1, 1), 20)]
    assert fleet.states() == {"READY": 20}


def test_what_is_heard_late_is_counted_when_it_was_applied_but_never_before_a_smaller_share() -> None:
    found = Convergence(1, 7, published=100.0)
    found.note(20, 19, 100.7)
    found.note(20, 20, 100.5)
    assert (found.took_50_ms, found.took_95_ms, found.took_100_ms) == (700, 700, 700)


def test_a_clock_is_judged_by_its_fastest_message_of_late() -> None:
    ahead: tuple[float, ...] = ()
    known = seen("i-00", 1, 1.0)
    for way in (0.2, 0.003, *[0.05] * (CLOCK_SAMPLES - 2)):
        ahead = known.ahead = clock_samples(known, 100.0 + way)
    assert (len(ahead), min(ahead)) == (CLOCK_SAMPLES, 100.003)
    known.ahead = clock_samples(known, 100.05)
    assert min(clock_samples(known, 100.05)) == 100.05


def test_what_is_counted_as_it_happens_agrees_with_counting_all(fleet: FleetState) -> None:
    """However instances join, move, fall back, close, fall silent and return."""
    chance = random.Random(7)
    at = 1.0
    for _ in range(600):
        at += chance.choice((0.1, 0.1, LIVE_S / 20))
        closed, epoch = chance.random() < 0.1, chance.choice((1, 1, 2))
        fleet.heard(seen(f"i-{chance.randrange(30):02d}", chance.randrange(1, 6), at, closed=closed, epoch=epoch))
        if chance.random() < 0.1:
            fleet.expire(at)
        live = [each for name, each in fleet.instances.items() if fleet.is_live(name)]
        assert fleet.revisions() == sorted(Counter(each.head for each in live).items(), reverse=True)
        for head in (Head(1, 3), Head(2, 1)):
            assert fleet.applied(head) == sum(each.head >= head for each in live)
