"""People, roles, rules, approvals and broken glass in any order: nobody gets a commit through that the rules refuse."""

import asyncio
import itertools
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from brownout.wire import Operation
from controlplane.access.actor import Actor, Role
from controlplane.errors import BrownoutError
from tests.integration.accessing import ROOT, World, open_world

T = TypeVar("T")
PEOPLE = 3
EDITORS = {Role.EDITOR, Role.ADMIN}
APPROVERS = {Role.APPROVER, Role.ADMIN}
BREAKERS = {Role.EDITOR, Role.OPERATOR, Role.ADMIN}
ROLES = [Role.VIEWER, Role.EDITOR, Role.OPERATOR, Role.APPROVER]

who_ = st.integers(0, PEOPLE - 1)
role_ = st.sampled_from(ROLES)
which_ = st.integers(0, 5)


class Modelled(NamedTuple):
    """What the model knows of a proposal."""

    id: int
    edition: int
    editors: frozenset[int]
    approved: frozenset[int]


class Machine(RuleBasedStateMachine):
    """Each example has an environment and people of its own in one world."""

    runner: asyncio.Runner
    world: World
    names = itertools.count()

    def go(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def tried(self, work: Coroutine[Any, Any, object]) -> bool:
        """Whether it was allowed."""
        try:
            self.go(work)
        except BrownoutError:
            return False
        return True

    @initialize()
    def begin(self) -> None:
        name = next(self.names)
        self.environment = f"machine-{name}"
        self.go(self.world.services.environments.create(ROOT, self.environment, self.environment))
        self.ids = [
            self.go(
                self.world.access.people.invite(ROOT, f"p{name}-{n}@example.com", "", {self.environment: ["viewer"]})
            ).person
            for n in range(PEOPLE)
        ]
        self.roles: list[set[Role]] = [{Role.VIEWER} for _ in range(PEOPLE)]
        self.needed = 0
        self.glass: set[int] = set()
        self.proposals: list[Modelled] = []
        self.commits = 1
        self.flags = itertools.count()

    def actor(self, who: int) -> Actor:
        """As the database says they are now: what a fresh request would carry."""
        return Actor("person", f"p{who}", {self.environment: frozenset(self.roles[who])}, person=self.ids[who])

    def change(self) -> list[Operation]:
        spec = {"type": "boolean", "description": "", "owner": "", "tags": [], "enabled": True,
                "variants": {"on": True, "off": False}, "off_variant": "off", "rules": [], "default": "on"}  # fmt: skip
        return [Operation("put", "flag", f"f{next(self.flags)}", msgspec.Raw(msgspec.json.encode(spec)))]

    @rule(who=who_, role=role_)
    def grant(self, who: int, role: Role) -> None:
        self.go(self.world.access.people.grant(ROOT, self.ids[who], self.environment, role))
        self.roles[who].add(role)

    @rule(who=who_, role=role_)
    def revoke(self, who: int, role: Role) -> None:
        held = role in self.roles[who]
        assert self.tried(self.world.access.people.revoke(ROOT, self.ids[who], self.environment, role)) == held
        self.roles[who].discard(role)

    @rule(who=who_, role=role_, other=who_)
    def grant_without_being_an_administrator(self, who: int, role: Role, other: int) -> None:
        people = self.world.access.people
        assert not self.tried(people.grant(self.actor(who), self.ids[other], self.environment, role))

    @rule(needed=st.integers(1, 2))
    def raise_the_bar(self, needed: int) -> None:
        needed = max(needed, self.needed)
        self.go(self.world.access.rule.set(ROOT, self.environment, needed))
        self.needed = needed

    @rule(who=who_)
    def commit_alone(self, who: int) -> None:
        allowed = bool(self.roles[who] & EDITORS) and (self.needed == 0 or who in self.glass)
        work = self.world.services.changes.commit(self.actor(who), self.environment, self.change(), "alone")
        assert self.tried(work) == allowed
        self.commits += allowed

    @rule(who=who_)
    def propose(self, who: int) -> None:
        if not self.roles[who] & EDITORS:
            work = self.world.services.proposals.propose(self.actor(who), self.environment, self.change(), "together")
            assert not self.tried(work)
            return
        made = self.go(
            self.world.services.proposals.propose(self.actor(who), self.environment, self.change(), "together")
        )
        self.proposals.append(Modelled(made.id, made.edition, frozenset({who}), frozenset()))

    @precondition(lambda self: self.proposals)
    @rule(who=who_, which=which_)
    def edit(self, who: int, which: int) -> None:
        at = which % len(self.proposals)
        found = self.proposals[at]
        work = self.world.services.proposals.edit(self.actor(who), self.environment, found.id, self.change(), "edited")
        allowed = bool(self.roles[who] & EDITORS)
        assert self.tried(work) == allowed
        if allowed:
            self.proposals[at] = Modelled(found.id, found.edition + 1, found.editors | {who}, frozenset())

    @precondition(lambda self: self.proposals)
    @rule(who=who_, which=which_, late=st.booleans())
    def approve(self, who: int, which: int, late: bool) -> None:
        at = which % len(self.proposals)
        found = self.proposals[at]
        edition = found.edition - late
        work = self.world.services.proposals.approve(self.actor(who), self.environment, found.id, edition)
        may = bool(self.roles[who] & APPROVERS) and who not in found.editors and who not in found.approved
        assert self.tried(work) == (may and not late)
        if may and not late:
            self.proposals[at] = found._replace(approved=found.approved | {who})

    @precondition(lambda self: self.proposals)
    @rule(who=who_, which=which_)
    def commit_together(self, who: int, which: int) -> None:
        at = which % len(self.proposals)
        found = self.proposals[at]
        counting = sum(bool(self.roles[each] & APPROVERS) for each in found.approved)
        allowed = bool(self.roles[who] & EDITORS) and counting >= self.needed
        work = self.world.services.proposals.commit(self.actor(who), self.environment, found.id)
        assert self.tried(work) == allowed
        if allowed:
            self.commits += 1
            del self.proposals[at]

    @rule(who=who_)
    def break_glass(self, who: int) -> None:
        allowed = bool(self.roles[who] & BREAKERS)
        work = self.world.access.break_glass.break_(self.actor(who), self.environment, "because", timedelta(hours=1))
        assert self.tried(work) == allowed
        if allowed:
            self.glass.add(who)

    @rule()
    def wait_until_glass_is_whole(self) -> None:
        self.world.clock.move(timedelta(minutes=61))
        self.glass.clear()

    @invariant()
    def the_log_holds_what_was_allowed_and_nothing_else(self) -> None:
        if hasattr(self, "environment"):
            assert self.go(self.world.services.store.head(self.environment)).revision == self.commits


def test_no_order_of_events_lets_an_unauthorised_commit_through(anyio_backend: str, database_url: str) -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        world = runner.run(stack.enter_async_context(open_world(database_url, "production")))
        machine = type("Wired", (Machine,), {"runner": runner, "world": world})
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=12,
                    stateful_step_count=25,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(stack.aclose())
