"""Postgres's time from round trips, whatever this server's wall clock says and however long Postgres is away."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controlplane.kit.clock import PostgresClock

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


class World:
    """`elapsed` is true time; the wall clock and Postgres's clock are each set as a test likes."""

    def __init__(self) -> None:
        self.elapsed = 1_000.0
        self.wall_ahead = timedelta()
        self.postgres_ahead = timedelta()
        self.clock = PostgresClock(self, lambda: self.elapsed)

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.elapsed) + self.wall_ahead

    @property
    def postgres(self) -> datetime:
        return NOON + timedelta(seconds=self.elapsed) + self.postgres_ahead

    def ask(self, there_s: float = 0.001, back_s: float = 0.001) -> None:
        asked = self.elapsed
        self.elapsed += there_s
        instant = self.postgres
        self.elapsed += back_s
        self.clock.sample(asked, instant, self.elapsed)

    @property
    def wrong_s(self) -> float:
        return abs((self.clock.now() - self.postgres).total_seconds())


def test_a_wrong_wall_clock_changes_nothing() -> None:
    world = World()
    world.wall_ahead = timedelta(hours=1)
    world.ask()
    assert world.wrong_s < 0.002
    assert world.clock.wall_ahead_s is not None
    assert round(world.clock.wall_ahead_s) == 3600
    world.wall_ahead = timedelta(hours=-1)
    world.elapsed += 7_200
    assert world.wrong_s < 0.002


def test_the_shortest_round_trip_wins() -> None:
    world = World()
    world.ask(0.9, 0.0)
    assert world.wrong_s > 0.4
    world.ask(0.001, 0.001)
    world.ask(0.0, 0.9)
    assert world.wrong_s < 0.002


def test_a_postgres_whose_clock_was_set_is_followed_at_once() -> None:
    world = World()
    for _ in range(8):
        world.ask()
    world.postgres_ahead = timedelta(seconds=2)
    world.ask(0.01, 0.01)
    assert world.wrong_s < 0.02


@given(
    trips=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=30),
    ahead=st.integers(-100_000, 100_000),
    away=st.floats(0, 86_400),
)
def test_it_is_never_further_off_than_half_of_the_best_of_the_last_round_trips(
    trips: list[tuple[float, float]], ahead: int, away: float
) -> None:
    world = World()
    world.postgres_ahead = timedelta(seconds=ahead)
    for there_s, back_s in trips:
        world.ask(there_s, back_s)
    world.elapsed += away
    assert world.wrong_s <= min(there_s + back_s for there_s, back_s in trips[-8:]) / 2 + 0.001
