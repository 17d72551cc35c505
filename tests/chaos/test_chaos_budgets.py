"""A fleet spends a window while NATS is killed under it: what it spends beyond the limit is bounded."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from brownout import Brownout
from controlplane.access.natsconfig import NatsSecrets
from tests.attack.test_leases import LIMIT, commit
from tests.attack.world import PRODUCTION, World, nodes_in, until, world_on

pytestmark = [pytest.mark.anyio, pytest.mark.chaos, pytest.mark.timeout(600)]

LARGEST = 60
"""Tokens of one request."""
NEARLY_ALL = 9_900
PATIENCE_S = 120
"""Only ends a test that would never end."""


class Fleet:
    """SDKs that spend as fast as their leases let them."""

    def __init__(self, world: World, size: int) -> None:
        urls = [node.url for node in world.nodes]
        self.clients = [
            Brownout.connect(urls, key=world.keys[PRODUCTION], environment=PRODUCTION, service="s", disk=False)
            for _ in range(size)
        ]
        self.spent = 0
        self.away = False
        """Whether the test has stopped NATS."""
        self.degraded = 0
        self.unforeseen = 0
        """What was spent degraded while NATS ran: no answer came for two seconds, because the machine was so busy."""
        self.refused = 0
        """In a row, of all."""

    def turn(self, chance: random.Random) -> None:
        """Some requests of each instance."""
        for client in self.clients:
            policy = client.policy("reply", {})
            windows, model = client._windows, policy.model
            if policy.window is None or windows is None or model is None:
                continue
            for _ in range(5):
                taken = windows.reserve(policy, model, chance.randrange(1, LARGEST))
                if taken is None:
                    self.refused += 1
                    continue
                used = chance.randrange(taken.amount // 2, taken.amount + 1)
                windows.settle(taken, used)
                self.spent += used
                self.refused = 0
                self.degraded += used if policy.window.degraded else 0
                self.unforeseen += used if policy.window.degraded and not self.away else 0

    async def spend(self, upto: float, chance: random.Random, *, away: bool = False) -> None:
        """Until so much is spent, or no one has got anything for a while: all know that nothing is left, or each has spent
        its share while NATS is `away`."""
        self.refused, self.away = 0, away
        async with asyncio.timeout(PATIENCE_S):
            while self.spent < upto and not (self.refused > 1_000 and (away or self.is_empty())):
                self.turn(chance)
                await asyncio.sleep(0.01)

    def is_empty(self) -> bool:
        windows = [client.policy("reply", {}).window for client in self.clients]
        return all(each is not None and not each.degraded and each.used_bp >= NEARLY_ALL for each in windows)

    async def close(self) -> None:
        for client in self.clients:
            await asyncio.to_thread(client.close)


@pytest.fixture
async def world(folder: Path, long: bool, database_url: str) -> AsyncIterator[World]:
    secrets = NatsSecrets.generate()
    with nodes_in(folder / "budgets", secrets, 3 if long else 1) as nodes:
        async with world_on(nodes, secrets, database_url) as made:
            await commit(made, PRODUCTION)
            yield made


async def all_are_leased(fleet: Fleet) -> None:
    def leased(client: Brownout) -> bool:
        window: Any = client.policy("reply", {}).window
        return window is not None and not window.degraded

    for client in fleet.clients:
        await until(lambda client=client: leased(client), patience_s=60)


async def test_a_fleet_does_not_overspend_a_window(world: World, long: bool) -> None:
    fleet, chance = Fleet(world, 12 if long else 4), random.Random(1)
    await all_are_leased(fleet)
    await fleet.spend(LIMIT * 2, chance)
    assert fleet.spent <= LIMIT * 1.005 + fleet.unforeseen
    assert fleet.unforeseen or fleet.spent >= LIMIT * 0.9, "leases that are too large leave much unspent"
    await fleet.close()


async def test_a_fleet_overspends_little_when_nats_is_killed_meanwhile(world: World, long: bool) -> None:
    fleet, chance = Fleet(world, 12 if long else 4), random.Random(2)
    await all_are_leased(fleet)
    for round_ in range(3 if long else 1):
        await fleet.spend(LIMIT * (0.3 + 0.2 * round_), chance)
        for node in world.nodes:
            node.kill()
        for client in fleet.clients:
            await until(lambda client=client: client.policy("reply", {}).window.degraded, patience_s=60)  # type: ignore[union-attr]
        await fleet.spend(fleet.spent + LIMIT * 0.1, chance, away=True)
        for node in world.nodes:
            node.start(wait=False)
        for node in world.nodes:
            node.wait_healthy()
        await all_are_leased(fleet)
    assert fleet.degraded > 0
    await fleet.spend(LIMIT * 2, chance)
    assert fleet.spent <= LIMIT * 1.05 + fleet.unforeseen
    await fleet.close()
