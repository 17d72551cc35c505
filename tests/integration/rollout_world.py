"""A small world for rollouts: a flag that governs a request class, real SDK evaluation, and time in our hands."""

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from brownout.evaluation.compile import Compiled
from brownout.evaluation.policy import Policy
from brownout.telemetry.recording import Recording
from brownout.wire import Operation
from brownout.wire.telemetry import decode
from controlplane.access.actor import system_actor
from controlplane.access.audit import Audit
from controlplane.access.rule import CommitRule
from controlplane.configuration.changes import Changes
from controlplane.configuration.store import SigningKeys, Store
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.rollouts.engine import Engine
from controlplane.rollouts.facts import FactReader
from controlplane.rollouts.service import Rollouts
from controlplane.rollouts.values import RolloutView
from controlplane.telemetry import fleet_tables as presence
from controlplane.telemetry.fleet_state import Head, Seen
from controlplane.telemetry.ingest import Ingest
from tests.support import take

ME = system_actor("test")
ENVIRONMENT = "production"
KEY = "new-model"


class MovedClock:
    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at


def route(model: str) -> dict[str, Any]:
    return {"targets": {"main": {"provider": "acme", "model": model}}, "primary": "main"}


RESOURCES: dict[tuple[str, str], dict[str, Any]] = {
    ("flag", "support-model"): {
        "type": "model_route", "variants": {"small": route("haiku"), "big": route("sonnet")},
        "off_variant": "small", "default": "small",
    },
    ("cohort", "beta"): {"any_of": [[{"attribute": "beta", "op": "in", "values": [True]}]]},
    ("request_class", "support-reply"): {"criticality": "critical", "model": "support-model"},
    ("safe_mode_profile", "calm"): {"max_attempts": 1},
}  # fmt: skip

ROLLOUT: dict[str, Any] = {
    "flag": "support-model", "control": "small", "treatment": "big",
    "stages": [
        {"cohort": "beta", "weight_bp": 5_000, "min_duration_s": 120, "min_units": 50},
        {"weight_bp": 2_000, "min_duration_s": 120, "min_units": 50},
        {"weight_bp": 10_000, "min_duration_s": 120, "min_units": 50},
    ],
    "guardrails": [{"measure": "refusal"}, {"measure": "error"}],
    "gates": [{"measure": "refusal", "no_worse_than": 3.0}],
}  # fmt: skip


class Instance(Recording):
    """An SDK without a network: it evaluates what the store holds."""

    name = "i-1"

    def _who(self) -> tuple[str, str]:
        return self.name, "support"

    def load(self, compiled: Compiled) -> None:
        self._compiled = self._holding(compiled)
        if not hasattr(self, "_reports"):
            self._start_counting()


class World:
    """`traffic` sends requests, `pass_time` moves the clock, `tick` lets an engine act."""

    def __init__(self, database: Database, store: Store, clock: MovedClock) -> None:
        self.store, self.clock = store, clock
        self.database = database
        self.ingest = Ingest(database, clock)
        self.changes = changes(database, store, clock)
        self.engines = [self._engine() for _ in range(3)]
        self.rollouts = Rollouts(store, self.changes, database, FactReader(database, clock), clock)
        self.instance = Instance()
        self.chance = random.Random(7)
        self.people = 0
        self.by: Callable[[Policy], str] = lambda policy: policy.model.model if policy.model else ""
        """What of a policy the chance of a bad answer depends on."""

    def _engine(self) -> Engine:
        return Engine(self.store, self.changes, FactReader(self.database, self.clock), self.clock)

    async def begin(self, more: Mapping[tuple[str, str], Any] | None = None, **changed: Any) -> None:
        ops = [Operation("put", kind, key, raw(spec)) for (kind, key), spec in {**RESOURCES, **(more or {})}.items()]
        await self.changes.commit(ME, ENVIRONMENT, ops, "the world")
        await self.rollouts.create(ME, ENVIRONMENT, KEY, msgspec.json.encode({**ROLLOUT, **changed}), "new model")
        await self.rollouts.move(ME, ENVIRONMENT, KEY, "start", "let us see")

    async def traffic(
        self, requests: int, refusals: Callable[[str], float], said: Callable[[Policy], dict[str, Any]] | None = None
    ) -> None:
        """New people, each once; `refusals` is the chance of a bad answer by model, or by what `by` says; `said` what else is recorded."""
        await self.load()
        for _ in range(requests):
            self.people += 1
            person = {"targeting_key": f"u-{self.people}", "beta": self.people % 2 == 0}
            policy = self.instance.policy("support-reply", person)
            more = said(policy) if said else {}
            self.instance.record(policy, refused=self.chance.random() < refusals(self.by(policy)), **more)
        await self.report()

    async def load(self) -> None:
        """The instance holds what the store does."""
        state = await self.store.state(ENVIRONMENT)
        self.instance.load(Compiled.load(ENVIRONMENT, state.head.revision, state.resources))
        self.instance._compiled.set_now(self.clock.now())

    async def report(self) -> None:
        """The instance sends what it counted."""
        message = self.instance._collect(True)
        assert message is not None
        await self.present()
        take(self.ingest, ENVIRONMENT, decode(message))
        await self.ingest.flush()

    def pass_time(self, seconds: float) -> None:
        self.clock.at += timedelta(seconds=seconds)

    async def present(self) -> None:
        """The instance is heard of: since it was first, until now."""
        at = self.clock.at.timestamp()
        seen = Seen(self.instance.name, "support", "0.1.0", Head(1, 1), "LIVE", 0.0, at, at, at, key="key")
        async with self.database.transaction() as connection:
            await presence.put_instances(connection, ENVIRONMENT, [seen])

    async def tick(self) -> None:
        await self.present()
        for engine in self.engines:
            await engine.tick()

    async def live(self, minutes: int, refusals: Callable[[str], float], *, requests: int = 400) -> None:
        for _ in range(minutes):
            if requests:
                await self.traffic(requests, refusals)
            self.pass_time(60)
            await self.tick()

    async def activate(self, key: str) -> None:
        """Safe mode for the flag's requests, for an hour."""
        now = self.clock.now()
        spec = {
            "profile": "calm", "reason": "provider trouble", "actor": "mara", "activated_at": now.isoformat(),
            "expires_at": (now + timedelta(hours=1)).isoformat(), "scope": {"request_classes": ["support-reply"]},
        }  # fmt: skip
        await self.changes.commit(ME, ENVIRONMENT, [Operation("put", "safe_mode_activation", key, raw(spec))], "on")

    async def settled(self, state: str) -> None:
        """Waits until an engine that runs by itself has brought the rollout into `state`."""
        async with asyncio.timeout(20):
            while (await self.view()).summary.state != state:  # noqa: ASYNC110 - another task moves it
                await asyncio.sleep(0.02)

    async def view(self) -> RolloutView:
        return await self.rollouts.get(ME, ENVIRONMENT, KEY)

    async def stages(self) -> list[str]:
        """What the engine wrote into the history, oldest first."""
        commits = await self.store.list_commits(ENVIRONMENT, author=f"rollout:{KEY}", limit=100)
        return [commit.message for commit in reversed(commits)]


def changes(database: Database, store: Store, clock: Clock) -> Changes:
    return Changes(store, CommitRule(database, clock, Audit(database, clock)), lambda _environment, _revision: None)


def raw(spec: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(spec))


def open_store(database: Database, clock: Clock, secret: str) -> Store:
    return Store(database, clock, SigningKeys(database, clock, secret))
