"""Whoever holds an SDK key can report anything about a rollout. It may at most tighten, and for its own requests only."""

from collections.abc import Sequence
from typing import Any

import pytest

from brownout.wire import Operation
from brownout.wire.telemetry import Arm, ArmKey, ArmTotals, TelemetryMessage, UnitCounts, rollout_rule
from controlplane.access.actor import system_actor
from controlplane.configuration.store import Store
from controlplane.kit.database import Database
from controlplane.rollouts.values import RolloutView
from controlplane.telemetry import fleet_tables as presence
from controlplane.telemetry.fleet_state import Head, Seen
from tests.integration.rollout_world import ENVIRONMENT, KEY, ME, MovedClock, World
from tests.integration.test_rollout_engine import bad
from tests.support import take

pytestmark = pytest.mark.anyio

ERROR = "error"
SAFE_MODE = [{"measure": "error", "no_worse_than": 1.5, "action": "safe_mode", "profile": "calm"}]
QUICK = [{"weight_bp": 500, "min_duration_s": 5, "min_units": 10}, {"weight_bp": 10_000, "min_duration_s": 5}]


class Fleet:
    """Instances of any name and key that report what they like."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._sequence = 0
        self._units = 0
        self._totals: dict[tuple[str, str, str, str], tuple[int, int]] = {}

    async def present(self, *names: str, key: str = "key") -> None:
        at = self.world.clock.at.timestamp()
        seen = [Seen(name, "support", "0.1.0", Head(1, 1), "LIVE", 0.0, at, at, at, key=key) for name in names]
        async with self.world.database.transaction() as connection:
            await presence.put_instances(connection, ENVIRONMENT, seen)

    async def report(
        self, names: Sequence[str], treatment: tuple[int, int], control: tuple[int, int], *, key: str = "key"
    ) -> None:
        """Each counts so many further (units, bad units) in both arms."""
        progress = (await self.world.view()).spec.progress
        rule = rollout_rule(KEY, progress.run, progress.stage)
        self._sequence += 1
        for name in names:
            arms = {
                ArmKey(rule, variant): self._arm((key, name, rule, variant), *counts)
                for variant, counts in (("big", treatment), ("small", control))
            }
            message = TelemetryMessage(1, name, 1, self._sequence, "support", 1, {}, {}, {}, {}, arms, 0)
            take(self.world.ingest, ENVIRONMENT, message, key=key)
        await self.world.ingest.flush()

    def _arm(self, place: tuple[str, str, str, str], units: int, bad_units: int) -> Arm:
        before = self._totals.get(place, (0, 0))
        total, bad_total = self._totals[place] = (before[0] + units, before[1] + bad_units)
        first, self._units = self._units, self._units + units
        totals = ArmTotals(total, {ERROR: total}, {ERROR: bad_total})
        hashes = [(first + i) * 0x9E3779B97F4A7C15 % 2**64 - 2**63 for i in range(units)]  # spread evenly
        told = [
            UnitCounts(unit, self._sequence, {0: 1}, [0] if i < bad_units else [], {}) for i, unit in enumerate(hashes)
        ]
        return Arm(totals, 0, [ERROR], told)


@pytest.fixture
async def world(database: Database, store: Store) -> World:
    return World(database, store, MovedClock())


@pytest.fixture
def fleet(world: World) -> Fleet:
    return Fleet(world)


async def engines(world: World) -> RolloutView:
    for engine in world.engines:
        await engine.tick()
    return await world.view()


async def activations(world: World) -> list[Any]:
    return list((await world.store.list_resources(ENVIRONMENT, "safe_mode_activation")).items)


async def test_one_forger_in_a_live_fleet_rolls_nothing_back_and_switches_no_safe_mode_on(
    world: World, fleet: Fleet
) -> None:
    await world.begin(guardrails=SAFE_MODE)
    await fleet.present("i-1", "i-2", "i-3", "forger")
    await fleet.report(["forger"], (50, 50), (950, 2))

    view = await engines(world)
    assert (view.summary.state, view.instances, view.instances_needed) == ("running", 1, 3)
    assert view.next.act == "wait"
    assert "evidence from 1 of 3 instances needed" in view.next.why
    assert view.judged[0].verdict == "breached"
    assert await activations(world) == []


async def test_what_only_a_forger_saw_is_not_shown_by_honest_instances_beside_it(world: World, fleet: Fleet) -> None:
    await world.begin(guardrails=SAFE_MODE)
    await fleet.present("i-1", "i-2", "i-3", "forger")
    await fleet.report(["i-1", "i-2", "i-3"], (20, 0), (380, 8))
    await fleet.report(["forger"], (50, 50), (950, 2))

    view = await engines(world)
    assert (view.summary.state, view.instances) == ("running", 4)
    assert "evidence from 1 of 3 instances needed" in view.next.why
    assert await activations(world) == []


async def test_a_key_alone_decides_nothing_while_another_reports(world: World, fleet: Fleet) -> None:
    """Its instances' names are its own choice: three cost nothing."""
    await world.begin(guardrails=SAFE_MODE)
    forgers = ["f-1", "f-2", "f-3"]
    await fleet.present("i-1", "i-2", "i-3")
    await fleet.present(*forgers, key="leaked")
    await fleet.report(["i-1", "i-2", "i-3"], (20, 0), (380, 8))
    await fleet.report(forgers, (50, 50), (950, 2), key="leaked")

    view = await engines(world)
    assert view.summary.state == "running"
    assert "it rests on the SDK key leaked alone" in view.next.why
    assert await activations(world) == []


async def test_two_keys_that_show_the_same_roll_back(world: World, fleet: Fleet) -> None:
    await world.begin(guardrails=SAFE_MODE)
    for key in ("one", "two"):
        names = [f"{key}-{n}" for n in range(3)]
        await fleet.present(*names, key=key)
        await fleet.report(names, (50, 15), (950, 19), key=key)

    view = await engines(world)
    assert view.summary.state == "rolled_back"
    (activation,) = await activations(world)
    assert b'"request_classes":["support-reply"]' in activation.spec


async def test_forged_instances_that_were_never_present_advance_nothing(world: World, fleet: Fleet) -> None:
    await world.begin(stages=QUICK, guardrails=SAFE_MODE, gates=[])
    await fleet.present("i-1", "i-2", "i-3")
    for _ in range(3):
        world.pass_time(10)
        await fleet.present("i-1", "i-2", "i-3")
        await fleet.report(["f-1", "f-2", "f-3"], (100, 0), (1_900, 40))
        view = await engines(world)

    assert (view.summary.state, view.summary.stage) == ("running", 0)
    assert "evidence from 0 of 3 instances needed that were present while they reported" in view.next.why


async def test_forged_instances_that_appear_late_complete_nothing(world: World, fleet: Fleet) -> None:
    await world.begin(stages=[{"weight_bp": 500, "min_duration_s": 600, "min_units": 10}], guardrails=[], gates=[])
    forgers = ["f-1", "f-2", "f-3"]
    world.pass_time(570)
    await fleet.present(*forgers)
    await fleet.report(forgers, (100, 0), (1_900, 40))
    world.pass_time(40)
    await fleet.present(*forgers)

    view = await engines(world)
    assert (view.summary.state, view.summary.stage) == ("running", 0)
    assert "no reporting instance was present throughout the stage" in view.next.why


async def test_nobody_live_and_forged_evidence_advance_nothing(world: World, fleet: Fleet) -> None:
    await world.begin(stages=QUICK, guardrails=[], gates=[])
    for _ in range(3):
        world.pass_time(10)
        await fleet.report(["forger"], (100, 0), (1_900, 40))
        view = await engines(world)

    assert (view.summary.state, view.summary.stage, view.instances_needed) == ("running", 0, 1)


async def test_a_key_cannot_hide_what_another_shows(world: World, fleet: Fleet) -> None:
    await world.begin(stages=QUICK, guardrails=[{"measure": "error"}], gates=[])
    honest, forgers = ["i-1", "i-2", "i-3"], ["f-1", "f-2", "f-3"]
    await fleet.present(*honest)
    await fleet.present(*forgers, key="leaked")
    await fleet.report(honest, (50, 15), (950, 19))
    for _ in range(3):
        await fleet.report(forgers, (100, 0), (1_900, 60), key="leaked")
    world.pass_time(10)
    await fleet.present(*honest)
    await fleet.present(*forgers, key="leaked")

    view = await engines(world)
    assert (view.summary.state, view.summary.stage) == ("running", 0)
    assert "error is worse than allowed without the SDK key leaked" in view.next.why


@pytest.mark.parametrize("size", [1, 2, 3, 8])
async def test_an_honest_fleet_of_any_size_rolls_back_and_advances(world: World, fleet: Fleet, size: int) -> None:
    names = [f"i-{n}" for n in range(size)]
    await world.begin(guardrails=[{"measure": "error"}], gates=[{"measure": "error", "no_worse_than": 3.0}])
    for _ in range(6):
        await fleet.present(*names)
        await fleet.report(names, (200, 4), (200, 4))
        world.pass_time(60)
    await fleet.present(*names)
    view = await engines(world)
    assert (view.summary.state, view.summary.stage) == ("running", 1)

    await fleet.report(names, (60, 25), (240, 5))
    view = await engines(world)
    assert view.summary.state == "rolled_back"


async def test_an_honest_fleet_that_is_deployed_meanwhile_advances(world: World, fleet: Fleet) -> None:
    await world.begin(stages=[{"weight_bp": 500, "min_duration_s": 600, "min_units": 50}], guardrails=[], gates=[])
    for deployment in range(3):
        names = [f"d{deployment}-{n}" for n in range(4)]
        for _ in range(4):
            await fleet.present(*names)
            await fleet.report(names, (20, 0), (380, 8))
            world.pass_time(60)
    await fleet.present(*names)

    assert (await engines(world)).summary.state == "completed"


async def test_safe_mode_of_a_rollout_never_covers_everyone(world: World, fleet: Fleet) -> None:
    """Of a flag that governs no request class, its scope would be empty: all."""
    await world.begin(guardrails=SAFE_MODE)
    await world.changes.commit(ME, ENVIRONMENT, [Operation("del", "request_class", "support-reply")], "gone")
    await fleet.present("i-1")
    await fleet.report(["i-1"], (50, 30), (950, 19))

    assert (await engines(world)).summary.state == "rolled_back"
    assert await activations(world) == []


async def test_a_person_goes_on_without_anybodys_evidence(world: World) -> None:
    await world.begin()
    moved = await world.rollouts.move(system_actor("mara"), ENVIRONMENT, KEY, "advance", "I looked at it")
    assert moved.stage == 1


async def test_evidence_of_real_sdks_still_decides(world: World) -> None:
    await world.begin()
    await world.live(4, bad)
    assert (await world.view()).summary.state == "rolled_back"
