"""Coverage as one capability: what would answer, what has answered, and what that cost."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from brownout.model.operating import Pattern
from brownout.model.resources import ResourceRef
from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration.changes import Changes
from controlplane.configuration.store import Store, every_resource
from controlplane.configuration.store.values import Commit, Head
from controlplane.coverage import judge
from controlplane.coverage.generate import generate
from controlplane.coverage.values import (
    CoverageReport,
    PatternReport,
    PriceReport,
    RankReport,
)
from controlplane.errors import ConflictError, InvalidInputError, NotFoundError
from controlplane.kit.clock import Clock
from controlplane.resilience import modes
from controlplane.resilience.drift import GOVERNING, MAX_CELLS
from controlplane.resilience.matrix import coverage
from controlplane.resilience.world import KINDS, World, world_of
from controlplane.telemetry.class_outcomes import ClassOutcomes

KEPT = 4
"""Revisions whose resources are kept read."""

DAYS = 30
MAX_DAYS = 31


class Proposed(Protocol):
    @property
    def id(self) -> int: ...


class Proposals(Protocol):
    """What we need of access: to put a change before others."""

    async def propose(self, actor: Actor, environment: str, ops: Sequence[Operation], message: str) -> Proposed: ...


class Outcomes(Protocol):
    """What we need of telemetry."""

    async def read(
        self, actor: Actor, environment: str, *, since: datetime, changed: Mapping[str, datetime] | None = None
    ) -> dict[str, ClassOutcomes]: ...


class Coverage:
    """Every method raises ForbiddenError without READ, and NotFoundError when there is no such environment."""

    def __init__(self, store: Store, changes: Changes, proposals: Proposals, outcomes: Outcomes, clock: Clock) -> None:
        self._store = store
        self._changes = changes
        self._proposals = proposals
        self._outcomes = outcomes
        self._clock = clock
        self._worlds: OrderedDict[tuple[str, int, int], World] = OrderedDict()
        self._turn = asyncio.Lock()
        """One evaluation at a time: each takes a processor for a while."""

    async def report(
        self,
        actor: Actor,
        environment: str,
        *,
        request_class: str = "",
        profile: str | None = None,
        revision: int | None = None,
    ) -> CoverageReport:
        """The cells of all classes or one, with every profile or one ("" is the normal state).

        Raises:
            NotFoundError: no such request class, profile or revision.
        """
        head, world = await self._world(actor, environment, revision)
        if request_class and request_class not in world.classes:
            raise NotFoundError(f"{environment} has no request class {request_class}")
        if profile and profile not in world.profiles:
            raise NotFoundError(f"{environment} has no safe mode profile {profile}")
        size = (1 if request_class else len(world.classes)) * len(world.modes)
        if size * (1 + len(world.profiles) if profile is None else 1) > MAX_CELLS:
            raise InvalidInputError(f"these are more than {MAX_CELLS:,} cells: choose a profile or a request class")
        async with self._turn:
            cells = await asyncio.to_thread(
                coverage,
                world,
                now=self._clock.now(),
                profiles=None if profile is None else (profile,),
                classes=(request_class,) if request_class else None,
            )
        unread = [f"{ref.kind}/{ref.key}" for ref in world.unread]
        return CoverageReport(environment, head.revision, judge.summary(cells), cells, unread)

    async def ranks(self, actor: Actor, environment: str, days: int = DAYS) -> RankReport:
        """Failure modes by what they have cost in the last days."""
        _, world = await self._world(actor, environment)
        seen = await self._seen(actor, environment, days)
        return RankReport(environment, days, judge.ranks(world, seen))

    async def patterns(self, actor: Actor, environment: str, request_class: str = "") -> PatternReport:
        """The patterns of all classes or one, with what has exercised them.

        Raises:
            NotFoundError: no such request class.
        """
        _, world = await self._world(actor, environment)
        if request_class and request_class not in world.classes:
            raise NotFoundError(f"{environment} has no request class {request_class}")
        keys = [request_class] if request_class else sorted(world.classes)
        changed = await self._changed(environment, world)
        seen = await self._seen(actor, environment, DAYS, changed)
        async with self._turn:
            found = await asyncio.to_thread(
                lambda: [judge.class_patterns(world, key, seen.get(key, ClassOutcomes())) for key in keys]
            )
        return PatternReport(environment, DAYS, found)

    async def prices(self, actor: Actor, environment: str, days: int = DAYS) -> PriceReport:
        """What each tier's requests cost in the last days, and what of that resilience did."""
        _, world = await self._world(actor, environment)
        return PriceReport(environment, days, judge.prices(world, await self._seen(actor, environment, days)))

    async def add_pattern(self, actor: Actor, environment: str, request_class: str, pattern: Pattern) -> int:
        """Proposes what gives the class the pattern; returns the proposal's number.

        Raises:
            ForbiddenError: without EDIT.
            ConflictError: the class has it.
            InvalidInputError: something is missing that only people know.
        """
        authorize(actor, Action.EDIT, environment)
        _, world = await self._world(actor, environment)
        if request_class not in world.classes:
            raise NotFoundError(f"{environment} has no request class {request_class}")
        ops = generate(world, request_class, pattern)
        words = f"Add {pattern.replace('_', ' ')} to {request_class}"
        return (await self._proposals.propose(actor, environment, ops, words)).id

    async def add_defaults(self, actor: Actor, environment: str) -> Commit:
        """Commits the standard failure modes that the environment lacks.

        Raises:
            ForbiddenError: without EDIT.
            ConflictError: it has all of them.
        """
        authorize(actor, Action.EDIT, environment)
        present = frozenset(each.key for each in await every_resource(self._store, environment, modes.KIND))
        ops = modes.seed(present)
        if not ops:
            raise ConflictError(f"{environment} has every standard failure mode already")
        return await self._changes.commit(actor, environment, ops, "Add the standard failure modes")

    async def _world(self, actor: Actor, environment: str, revision: int | None = None) -> tuple[Head, World]:
        """What coverage looks at, kept for a few revisions."""
        authorize(actor, Action.READ, environment)
        head = await self._store.head(environment)
        key = (environment, head.epoch, head.revision if revision is None else revision)
        if key in self._worlds:
            self._worlds.move_to_end(key)
            return msgspec.structs.replace(head, revision=key[2]), self._worlds[key]
        state = await self._store.state(environment, revision)
        kept = {ref: spec for ref, spec in state.resources.items() if ref.kind in KINDS}
        world = await asyncio.to_thread(world_of, kept)
        self._worlds[environment, head.epoch, state.head.revision] = world
        while len(self._worlds) > KEPT:
            self._worlds.popitem(last=False)
        return state.head, world

    async def _changed(self, environment: str, world: World) -> dict[str, datetime]:
        """When each class, or a flag that it names, was last put."""
        resources = await every_resource(self._store, environment, "request_class")
        for type_ in sorted(GOVERNING):  # of thousands of flags, those that a class can name
            resources += await every_resource(self._store, environment, "flag", type_)
        at = {ResourceRef(each.kind, each.key): each.changed_at for each in resources}
        found = {}
        for key, spec in world.classes.items():
            named = filter(None, (spec.model, spec.ladder, spec.budget, spec.tools))
            refs = [ResourceRef("request_class", key), *(ResourceRef("flag", flag) for flag in named)]
            if known := [at[ref] for ref in refs if ref in at]:
                found[key] = max(known)
        return found

    async def _seen(
        self, actor: Actor, environment: str, days: int, changed: Mapping[str, datetime] | None = None
    ) -> dict[str, ClassOutcomes]:
        if not 1 <= days <= MAX_DAYS:
            raise InvalidInputError(f"days is 1 to {MAX_DAYS}")
        since = self._clock.now() - timedelta(days=days)
        return await self._outcomes.read(actor, environment, since=since, changed=changed)
