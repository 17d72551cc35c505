"""Who stays behind is told once, whatever the number of replicas, and so is that it is over."""

import pytest

from controlplane.kit.database import Database
from controlplane.telemetry import fleet_tables as presence
from controlplane.telemetry.fleet_state import LIVE_S, FleetState, Head, Seen
from controlplane.telemetry.lag import MAX_NAMED, LagAlerts
from tests.integration.rollout_world import MovedClock

pytestmark = pytest.mark.anyio

PRODUCTION = "production"


class Replica:
    """One control plane's view of the fleet, and what it told people."""

    def __init__(self, database: Database, clock: MovedClock, told: list[tuple[str, dict[str, str]]]) -> None:
        self.state = FleetState()
        self._told = told
        self.alerts = LagAlerts(database, clock, self._notify)

    async def _notify(self, event: str, fields: dict[str, str], connection: object = None) -> None:  # noqa: ARG002
        self._told.append((event, fields))


class World:
    """Two replicas that hear the same."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = MovedClock()
        self.told: list[tuple[str, dict[str, str]]] = []
        self.replicas = [Replica(database, self.clock, self.told) for _ in range(2)]

    @property
    def now(self) -> float:
        return self.clock.now().timestamp()

    def published(self, revision: int) -> None:
        for replica in self.replicas:
            replica.state.published(Head(1, revision), self.now)

    async def heard(self, *names: str, revision: int) -> None:
        for replica in self.replicas:
            for name in names:
                replica.state.heard(
                    Seen(name, "support", "0.1.0", Head(1, revision), "LIVE", 0.0, self.now, self.now, self.now)
                )
        async with self.database.transaction() as connection:
            await presence.put_instances(connection, PRODUCTION, self.replicas[0].state.take_touched())

    async def pass_time(self, seconds: float) -> None:
        """The replicas look before and after."""
        await self.look()
        self.clock.at = self.clock.at.fromtimestamp(self.now + seconds, self.clock.at.tzinfo)
        await self.look()

    async def look(self) -> None:
        for replica in self.replicas:
            replica.state.expire(self.now)
            await replica.alerts.look(PRODUCTION, replica.state)

    def taken(self) -> list[tuple[str, dict[str, str]]]:
        found, self.told[:] = list(self.told), []
        return found


@pytest.fixture
async def world(database: Database) -> World:
    """Three instances at revision 1; revision 2 has been out for six seconds, and `slow` alone has not applied it."""
    made = World(database)
    made.published(1)
    await made.heard("a", "b", "slow", revision=1)
    made.published(2)
    await made.heard("a", "b", revision=2)
    await made.pass_time(6)
    return made


async def test_a_lag_is_told_once_and_so_is_that_it_caught_up(world: World) -> None:
    assert world.taken() == [], "it may have died: nobody knows yet"
    await world.heard("slow", revision=1)
    await world.pass_time(6)
    await world.heard("slow", revision=1)
    await world.pass_time(6)
    assert world.taken() == [
        ("instances_lag", {"environment": PRODUCTION, "head": "r2", "count": "1", "instances": "slow (r1)"})
    ]
    await world.heard("slow", revision=2)
    await world.pass_time(6)
    assert world.taken() == [("instances_lag_over", {"environment": PRODUCTION, "caught_up": "slow", "gone": ""})]

    world.published(3)
    await world.heard("a", "b", revision=3)
    await world.pass_time(6)
    await world.heard("slow", revision=2)
    await world.look()
    assert [event for event, _ in world.taken()] == ["instances_lag"], "another lag is another alert"


async def test_a_replica_that_starts_repeats_nothing_and_tells_the_end(world: World) -> None:
    await world.heard("slow", revision=1)
    await world.look()
    world.taken()
    world.replicas = [Replica(world.database, world.clock, world.told)]
    world.published(2)
    await world.heard("slow", revision=1)
    await world.pass_time(6)
    await world.heard("slow", revision=1)
    await world.pass_time(6)
    assert world.taken() == []
    await world.heard("slow", revision=2)
    await world.look()
    assert [event for event, _ in world.taken()] == ["instances_lag_over"]


async def test_who_died_is_no_laggard_and_a_laggard_that_dies_is_gone(world: World) -> None:
    await world.pass_time(LIVE_S)
    assert world.taken() == []
    await world.heard("slow", revision=1)
    await world.look()
    await world.heard("slow", revision=1)
    await world.pass_time(1)
    await world.heard("slow", revision=1)
    await world.pass_time(LIVE_S + 1)
    assert [(event, fields.get("gone")) for event, fields in world.taken()] == [
        ("instances_lag", None), ("instances_lag_over", "slow"),
    ]  # fmt: skip


async def test_a_fleet_that_lags_at_once_is_one_alert(world: World) -> None:
    many = [f"i-{n:03d}" for n in range(100)]
    await world.heard(*many, revision=1)
    await world.pass_time(1)
    await world.heard(*many, revision=1)
    await world.look()
    ((_, fields),) = world.taken()
    assert fields["count"] == "100"
    assert fields["instances"].endswith(f"i-{MAX_NAMED - 1:03d} (r1) and {100 - MAX_NAMED} more")
