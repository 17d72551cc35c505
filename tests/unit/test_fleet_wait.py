"""Waiting for a fleet costs one look at it, however many instances report and however many people wait."""

import asyncio
from typing import cast

import msgspec
import pytest

from controlplane.access.actor import Actor, system_actor
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.kit.link import Heard
from controlplane.telemetry.fleet import Fleet
from controlplane.telemetry.values import Spread

pytestmark = pytest.mark.anyio

SOMEBODY = system_actor("system:test")


class CountingFleet(Fleet):
    """Counts how often all instances are looked at."""

    looks = 0

    def spread(self, actor: Actor, environment: str, revision: int) -> Spread:
        self.looks += 1
        return super().spread(actor, environment, revision)


async def reports(fleet: Fleet, instance: int, revision: int) -> None:
    now = round(SystemClock().now().timestamp() * 1000)
    said = {
        "instance": f"i{instance}", "service": "s", "sdk_version": "1", "ep": 1, "rev": revision, "state": "LIVE",
        "age_s": 0, "ts": now, "applied_at": now,
    }  # fmt: skip
    await fleet.heard(Heard(f"bot.p.k.i{instance}.p", msgspec.json.encode(said)))


async def commits(fleet: Fleet, revision: int) -> None:
    await fleet.committed(Heard("bo.p.log", msgspec.json.encode({"ep": 1, "rev": revision})))


async def test_three_who_wait_for_five_hundred_look_once_each() -> None:
    fleet = CountingFleet(cast("Database", None), SystemClock())
    await commits(fleet, 1)
    for instance in range(500):
        await reports(fleet, instance, 1)
    await commits(fleet, 2)
    waiting = [asyncio.create_task(fleet.wait(SOMEBODY, "p", 2, percent=100, timeout_s=600)) for _ in range(3)]
    for instance in range(499):
        await reports(fleet, instance, 2)
        await asyncio.sleep(0)
    assert fleet.looks == 0
    assert not any(task.done() for task in waiting)  # 99.8 % is not all of them
    await reports(fleet, 499, 2)
    found = await asyncio.gather(*waiting)
    assert [each.percent for each in found] == [100.0] * 3
    assert fleet.looks == 3


async def test_all_but_one_of_three_thousand_is_not_a_hundred_percent() -> None:
    fleet = Fleet(cast("Database", None), SystemClock())
    await commits(fleet, 1)
    for instance in range(3_000):
        await reports(fleet, instance, 1)
    await commits(fleet, 2)
    for instance in range(2_999):
        await reports(fleet, instance, 2)
    assert fleet.spread(SOMEBODY, "p", 2).percent == 99.9
