"""What time it is, in virtual time: clocks that are wrong, jump, stop or lie, and heartbeats that are late or recorded."""

from collections.abc import Sequence
from copy import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout._sync.clock import AGREE_MS, ESTABLISHED, KEPT, Heard, SignedTime

NOON = 1_800_000_000_000
SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
BEAT = 5 * SECOND
ERRORS = [HOUR, -HOUR, DAY, -DAY]


class World:
    """A server's clock, a host's uptime and a host's wall clock, which is `wall_error` ahead of the server's."""

    def __init__(self, wall_error: int = 0) -> None:
        self.server = NOON
        self.uptime = 50 * HOUR
        self.wall_error = wall_error

    def clock(self) -> SignedTime:
        return SignedTime(uptime_ms=lambda: self.uptime, wall_ms=lambda: self.server + self.wall_error)

    def pass_(self, ms: int) -> None:
        self.server += ms
        self.uptime += ms


def error(world: World, clock: SignedTime) -> int:
    """How far the clock is ahead of the server."""
    return clock.now_ms() - world.server


def beats(world: World, clock: SignedTime, count: int, ahead: Sequence[int] = (0,)) -> list[int]:
    """Heartbeats of replicas that take turns and whose clocks are `ahead`; returns the clock's error after each."""
    errors = []
    for number in range(count):
        world.pass_(BEAT)
        clock.hear(world.server + ahead[number % len(ahead)])
        errors.append(error(world, clock))
    return errors


def test_a_wall_clock_that_is_ahead_is_put_right_by_the_first_heartbeat() -> None:
    world = World(HOUR)
    clock = world.clock()
    assert error(world, clock) == HOUR
    assert beats(world, clock, 1) == [0]
    assert clock.skew_ms == HOUR


@pytest.mark.parametrize("behind", [3 * SECOND, HOUR, DAY])
def test_a_wall_clock_that_is_behind_is_believed_until_heartbeats_have_outnumbered_it(behind: int) -> None:
    world = World(-behind)
    clock = world.clock()
    assert beats(world, clock, ESTABLISHED + 2) == [-behind] * (ESTABLISHED - 1) + [0, 0, 0]
    assert clock.skew_ms == -behind


def test_a_wall_clock_that_agrees_costs_no_time() -> None:
    world = World(AGREE_MS // 2)
    clock = world.clock()
    clock.hear(world.server)
    assert 0 <= error(world, clock) <= AGREE_MS // 2  # it stands still until it is right
    world.pass_(AGREE_MS)
    assert error(world, clock) == 0


@pytest.mark.parametrize("jump", ERRORS)
def test_a_wall_clock_that_jumps_changes_nothing_once_a_heartbeat_was_heard(jump: int) -> None:
    world = World()
    clock = world.clock()
    beats(world, clock, 1)
    world.wall_error = jump
    world.pass_(10 * HOUR)
    assert error(world, clock) == 0
    assert beats(world, clock, 2 * KEPT) == [0] * (2 * KEPT)


@pytest.mark.parametrize("jump", [SECOND, HOUR, DAY])
def test_before_a_heartbeat_a_jump_forward_passes_no_time(jump: int) -> None:
    world = World()
    clock = world.clock()
    world.pass_(SECOND)
    world.wall_error = jump
    assert error(world, clock) == 0
    world.pass_(DAY)
    assert error(world, clock) == 0


@pytest.mark.parametrize("jump", [HOUR, DAY])
def test_before_a_heartbeat_a_jump_back_takes_no_time_back(jump: int) -> None:
    world = World()
    clock = world.clock()
    shown = clock.now_ms()
    world.wall_error = -jump
    world.pass_(SECOND)
    assert clock.now_ms() == shown
    world.pass_(jump)
    assert error(world, clock) == -jump


def test_a_file_is_a_lower_bound_of_the_time_and_makes_older_heartbeats_recordings() -> None:
    world = World(-DAY)
    clock = world.clock()
    clock.remember(world.server)
    assert error(world, clock) == 0
    assert clock.hear(world.server) is Heard.REPEAT
    assert clock.hear(world.server - HOUR) is Heard.REPEAT
    assert clock.age_s == 0
    world.pass_(HOUR)
    assert (clock.age_s, clock.is_live, error(world, clock)) == (3600, False, 0)
    assert beats(world, clock, 1) == [0]


@pytest.mark.parametrize("wrong", ERRORS)
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 0, 1), (1, 0, 0), (1, 1, 0)])
def test_a_replica_with_a_wrong_clock_changes_nothing(wrong: int, order: tuple[int, ...]) -> None:
    world = World()
    clock = world.clock()
    clock.passed(world.server)
    errors = beats(world, clock, 6 * KEPT, [wrong * turn for turn in order])
    right = order.index(0)
    assert set(errors[right:]) == {0}
    assert set(errors[:right]) <= {0, min(0, wrong)}  # activations may last longer until one that is right is heard


@pytest.mark.parametrize("wall", [0, *ERRORS])
@pytest.mark.parametrize("wrong", [HOUR, DAY])
@pytest.mark.parametrize("order", [(0, 1), (0, 1, 1)])
def test_a_fast_replica_and_a_wrong_wall_clock_end_nothing_early(wall: int, wrong: int, order: tuple[int, ...]) -> None:
    world = World(wall)
    clock = world.clock()
    errors = beats(world, clock, 6 * KEPT, [wrong * turn for turn in order])
    assert max(errors) <= 0
    assert set(errors[ESTABLISHED:]) == {0}


def test_a_slow_replica_that_is_heard_first_is_exposed_by_the_next_commit() -> None:
    world = World()
    clock = world.clock()
    assert set(beats(world, clock, 2 * KEPT, (-HOUR, 0))) == {-HOUR}
    clock.passed(world.server)
    assert set(beats(world, clock, 2 * KEPT, (-HOUR, 0))[1:]) == {0}


@pytest.mark.parametrize("wall", ERRORS)
def test_a_slow_replica_that_comes_later_changes_nothing_whatever_the_wall_clock_says(wall: int) -> None:
    world = World(wall)
    clock = world.clock()
    beats(world, clock, ESTABLISHED)
    assert set(beats(world, clock, 6 * KEPT, (-HOUR, 0))) == {0}


def test_replicas_that_differ_a_little_are_one_clock() -> None:
    world = World(HOUR)
    clock = world.clock()
    errors = beats(world, clock, 4 * KEPT, (0, 40, -60))
    assert all(-60 <= each <= 40 for each in errors)


def test_recorded_heartbeats_move_nothing_back_or_forward() -> None:
    world = World()
    clock = world.clock()
    recording = []
    for _ in range(20):
        world.pass_(BEAT)
        recording.append(world.server)
        clock.hear(world.server)
    world.pass_(HOUR)
    before = copy(vars(clock))
    assert {clock.hear(ts) for ts in recording} == {Heard.REPEAT}
    assert {key: value for key, value in vars(clock).items() if before[key] != value} == {}
    assert error(world, clock) == 0


def test_a_recording_of_a_replica_that_was_fast_is_never_fresh() -> None:
    world = World()
    clock = world.clock()
    beats(world, clock, 2 * ESTABLISHED, (0, HOUR))
    recorded = world.server + HOUR - 2 * BEAT + 1
    assert clock.hear(recorded) is Heard.ODD
    assert error(world, clock) == 0


def test_a_heartbeat_from_the_future_is_fresh_and_ages_like_any_other() -> None:
    world = World()
    clock = world.clock()
    beats(world, clock, ESTABLISHED)
    ts = world.server + HOUR
    assert clock.hear(ts) is Heard.FRESH
    clock.vouch(ts, live=True)
    assert clock.age_s == 0
    world.pass_(40 * SECOND)
    assert clock.age_s == 40
    assert not clock.is_past(ts)


def test_a_late_heartbeat_is_as_old_as_it_says() -> None:
    world = World()
    clock = world.clock()
    beats(world, clock, ESTABLISHED)
    sent = world.server + SECOND
    world.pass_(21 * SECOND)
    assert clock.hear(sent) is Heard.FRESH
    clock.vouch(sent, live=True)
    assert clock.age_s == 20
    clock.vouch(sent - HOUR)
    assert clock.age_s == 20


def test_time_goes_on_through_a_suspension_that_uptime_counts() -> None:
    world = World()
    clock = world.clock()
    beats(world, clock, 2)
    world.pass_(7 * HOUR)
    assert error(world, clock) == 0


@pytest.mark.parametrize("wall", [0, HOUR, -HOUR])
def test_a_suspension_that_uptime_does_not_count_is_caught_up(wall: int) -> None:
    world = World(wall)
    clock = world.clock()
    beats(world, clock, KEPT)
    world.server += HOUR
    errors = beats(world, clock, KEPT)
    assert errors == sorted(errors)
    assert (errors[0], errors[-1]) == (-HOUR, 0)
    world.server += HOUR
    clock.passed(world.server)
    assert beats(world, clock, 1) == [0]


def test_after_a_long_silence_two_oscillators_that_drifted_apart_agree_again() -> None:
    for drift in (-5 * SECOND, 5 * SECOND):
        world = World(HOUR)
        clock = world.clock()
        beats(world, clock, KEPT)
        world.pass_(2 * DAY)
        world.uptime += drift
        errors = beats(world, clock, ESTABLISHED)
        assert errors[-1] == 0
        assert drift < 0 or errors[0] == 0


def test_it_never_moves_back_by_the_delays_of_a_network() -> None:
    world = World()
    clock = world.clock()
    shown = 0
    for delay in (0, 900, 0, 1500, 100, 1900, 0) * 10:
        world.pass_(BEAT)
        clock.hear(world.server - delay)
        assert shown <= clock.now_ms() <= world.server
        shown = clock.now_ms()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("beat"), st.integers(0, 20 * SECOND)),
        st.tuples(st.just("commit"), st.integers(0, 20 * SECOND)),
        st.tuples(st.just("replay"), st.integers(0, 1_000)),
        st.tuples(st.just("wall"), st.sampled_from([*ERRORS, 0, 3 * SECOND, -3 * SECOND])),
        st.tuples(st.just("pass"), st.integers(1, 2 * HOUR)),
        st.tuples(st.just("freeze"), st.integers(1, 2 * HOUR)),
        st.tuples(st.just("restart"), st.booleans()),
        st.tuples(st.just("run"), st.just(KEPT + ESTABLISHED)),
    ),
    max_size=40,
)


@given(steps, st.sampled_from([0, *ERRORS]))
def test_whatever_happens_signed_time_is_never_ahead_of_the_server_and_catches_up(
    taken: list[tuple[str, int]], wall_error: int
) -> None:
    """So no activation stops early by the server's time, and none lasts longer than its end plus the bound of ADR 0044."""
    world = World(wall_error)
    clock, heard, sent = world.clock(), False, [NOON - HOUR]
    for what, by in taken:
        if what == "beat":
            sent.append(max(world.server - by, sent[-1] + 1))
            world.pass_(max(0, sent[-1] - world.server))
            clock.hear(sent[-1])
            heard = True
        elif what == "replay":
            heard = clock.hear(sent[by % len(sent)]) is not Heard.REPEAT or heard
        elif what == "commit":
            clock.passed(world.server - by)
        elif what == "wall":
            world.wall_error = by
        elif what == "pass":
            world.pass_(by)
        elif what == "freeze":
            world.server += by
        elif what == "restart":
            clock, heard = world.clock(), False
            if by:
                clock.remember(sent[-1])
        else:
            beats(world, clock, by)
            sent.append(world.server)
            heard = True
            assert error(world, clock) >= -AGREE_MS
        if heard:
            assert error(world, clock) <= 0 or world.wall_error > 0
            assert error(world, clock) <= AGREE_MS
