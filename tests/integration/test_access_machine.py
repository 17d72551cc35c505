"""People, roles, tokens, SDK keys, rules, approvals and broken glass in any order: nobody gets a commit through that the
rules refuse, whatever they show at the door. Every act is authenticated by the real credential it comes with."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from datetime import timedelta
from enum import Enum, auto
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from controlplane.access.actor import GRANTABLE, PERMISSIONS, Action, Actor, Role, allows
from controlplane.access.grants import covers
from controlplane.access.sessions import Origin
from controlplane.access.values import Event
from controlplane.errors import BrownoutError
from tests.integration.access_model import BOSS, EVERYBODY, PEOPLE, AccessModel, Hand, Link, Modelled
from tests.integration.accessing import PASSWORD, ROOT, open_world

ELSEWHERE = "production"
HOUR = timedelta(hours=1)

who_ = st.integers(0, PEOPLE - 1)
anybody_ = st.integers(0, EVERYBODY - 1)
role_ = st.sampled_from([Role.VIEWER, Role.EDITOR, Role.OPERATOR, Role.APPROVER, Role.ADMIN])
place_ = st.sampled_from(["here", "here", "elsewhere"])
lasts_ = st.sampled_from([HOUR, 90 * 24 * HOUR])
which_ = st.integers(0, 8)


class Plot(Enum):
    """How one hand tries to be two; the last is none."""

    PUPPET_APPROVES = auto()
    PUPPET_PROPOSES = auto()
    TWO_PUPPETS = auto()
    LINK_LATER = auto()
    ENABLED_LATER = auto()
    ROLE_BY_AUTHOR = auto()
    HONEST = auto()


class Machine(AccessModel):
    """Each example has an environment and people of its own in one world."""

    names = itertools.count()

    @initialize(guarded=st.booleans())
    def begin(self, guarded: bool) -> None:
        name = next(self.names)
        self.environment = f"machine-{name}"
        self.go(self.world.services.environments.create(ROOT, self.environment, self.environment))
        self.emails = [f"p{name}-{n}@example.com" for n in range(PEOPLE)]
        self.roles = [{Role.VIEWER, Role.ADMIN}, {Role.VIEWER, Role.EDITOR}, {Role.VIEWER, Role.APPROVER}]
        self.ids = [
            self.go(self.world.person(email, {self.environment: [*roles]})).person
            for email, roles in zip(self.emails, self.roles, strict=True)
        ]
        self.emails.append(f"boss{name}@example.com")
        self.ids.append(self.go(self.world.person(self.emails[BOSS], {"*": ["admin"]})).person)
        self.roles.append({Role.ADMIN})
        self.passwords = [PASSWORD] * EVERYBODY
        self.step = 0
        self.links: list[list[Link]] = [[] for _ in range(EVERYBODY)]
        self.given: list[dict[Role, tuple[int | None, int]]] = [{} for _ in range(EVERYBODY)]
        self.let_in_again = [0] * EVERYBODY
        self.cookies = [""] * EVERYBODY
        self.address = f"10.{name // 250}.{name % 250}.7"
        self.disabled: set[int] = set()
        self.hands = [Hand("session", who) for who in range(EVERYBODY)]
        self.needed = 0
        self.glass: set[int] = set()
        self.proposals: list[Modelled] = []
        self.commits = 1
        self.flags = itertools.count()
        for role in (Role.EDITOR, Role.APPROVER):
            self.make_machines_token(0, role, "here", HOUR)
        for who in range(EVERYBODY):
            self.make_personal_token(who, None, "here", 90 * 24 * HOUR)
        self.make_an_sdk_key(0, "here")
        if guarded:
            self.raise_the_bar(1)

    # People

    @rule(who=who_, role=role_)
    def grant(self, who: int, role: Role) -> None:
        self.go(self.world.access.people.grant(ROOT, self.ids[who], self.environment, role))
        self.got(None, who, role)

    @rule(who=who_, role=role_)
    def revoke(self, who: int, role: Role) -> None:
        if role in self.roles[who]:
            self.go(self.world.access.people.revoke(ROOT, self.ids[who], self.environment, role))
            self.roles[who].discard(role)
            self.given[who].pop(role, None)

    @rule(which=which_, role=role_, other=who_)
    def grant_by_anybody(self, which: int, role: Role, other: int) -> None:
        hand, people = self.hand(which), self.world.access.people
        allowed = self.tried(hand, lambda actor: people.grant(actor, self.ids[other], self.environment, role))
        assert allowed == self.may(hand, Action.MANAGE_PEOPLE)
        if allowed:
            self.got(hand.who, other, role)

    def got(self, giver: int | None, who: int, role: Role) -> None:
        if role not in self.roles[who]:
            self.roles[who].add(role)
            self.given[who][role] = (giver, self.step)

    @rule(by=anybody_, who=who_)
    def reset_and_take_over(self, by: int, who: int) -> None:
        """Whoever makes the link follows it, and from then on knows the password."""
        people, made = self.world.access.people, list[Any]()

        async def reset(actor: Actor) -> None:
            made.append(await people.reset(actor, self.ids[who]))

        assert self.tried(self.hands[by], reset) == (by == BOSS and who not in self.disabled)
        for invitation in made:
            self.passwords[who] = f"a password of hand {by} at {self.step}"
            entered = self.go(
                self.world.access.sign_in.with_link(invitation.secret, self.passwords[who], Origin(self.address))
            )
            self.cookies[who] = entered.secret
            self.links[who] = [link._replace(ended=link.ended or self.step) for link in self.links[who]]
            self.links[who].append(Link(by, self.step))
            for hand in [h for h in self.hands if h.who == who and h.kind != "session" and not h.taken_over]:
                self.ends_with(hand.id)

    @rule(who=who_, heir=st.none() | anybody_)
    def disable(self, who: int, heir: int | None) -> None:
        """Their machines go on under an heir who holds as much; otherwise everything that acts for them ends."""
        theirs = [h for h in self.hands if h.kind == "machine" and h.who == who and not self.over(h)]
        held = frozenset() if heir is None or heir in self.disabled else self.held(heir)
        within = all(
            PERMISSIONS[role] <= held
            for hand in theirs
            for role in (hand.asks | (hand.elsewhere if heir != BOSS else frozenset()))
        )
        fit = heir is None or (heir != who and heir not in self.disabled and within)

        async def disable() -> None:
            await self.world.access.people.disable(ROOT, self.ids[who], heir=self.ids[heir] if heir is not None else "")

        try:
            self.go(disable())
        except BrownoutError:
            assert not fit
            return
        assert fit
        if heir is not None:
            for hand in theirs:
                self.put(hand, who=heir, taken_over=True)
        for hand in [h for h in self.hands if h.who == who and h.kind != "session"]:
            self.ends_with(hand.id)
        self.disabled.add(who)

    @precondition(lambda self: self.disabled)
    @rule(who=who_)
    def enable(self, who: int) -> None:
        """Their tokens stay ended."""
        self.go(self.world.access.people.enable(ROOT, self.ids[who]))
        if who in self.disabled:
            self.let_in_again[who] = self.step
        self.disabled.discard(who)

    # Tokens and keys

    @rule(who=anybody_, role=st.none() | role_, place=place_, lasts=lasts_)
    def make_personal_token(self, who: int, role: Role | None, place: str, lasts: timedelta) -> None:
        where = self.environment if place == "here" else ELSEWHERE
        scope = None if role is None else {where: [role]}
        made: list[Any] = []

        async def make(actor: Actor) -> None:
            made.append(
                await self.world.access.tokens.create_personal(
                    actor, "laptop", scope=scope, lasts=lasts, sensitive=True
                )
            )

        held = {self.environment: frozenset(self.roles[who])}
        within = role is None or who == BOSS or (place == "here" and covers(held, role, self.environment))
        assert self.tried(self.hands[who], make) == (who not in self.disabled and within)
        for token in made:
            asks = frozenset(GRANTABLE) if role is None else frozenset({role}) if place == "here" else frozenset()
            hand = Hand("personal", who, token.token, token.id, asks, token.expires_at, everywhere=role is None)
            self.hands.append(hand if role is None or place == "here" else self.scoped(hand, place, role))

    @rule(which=which_, role=role_, place=place_, lasts=lasts_)
    def make_machines_token(self, which: int, role: Role, place: str, lasts: timedelta) -> None:
        """By anybody: nobody hands on what they do not hold."""
        hand, where = self.hand(which), self.environment if place == "here" else ELSEWHERE
        made: list[Any] = []

        async def make(actor: Actor) -> None:
            made.append(
                await self.world.access.tokens.create_service(
                    actor, "robot", {where: [role]}, lasts=lasts, sensitive=True
                )
            )

        assert self.tried(hand, make) == self.may_at(place, hand, Action.MANAGE_KEYS)
        for token in made:
            parent = hand.id if hand.kind == "machine" else ""
            ends = self.world.clock.now() + lasts
            assert token.expires_at == (min(ends, hand.ends) if parent and hand.ends else ends)
            robot = Hand(
                "machine", hand.who, token.token, token.id, ends=token.expires_at, parent=parent,
                taken_over=hand.taken_over and bool(parent),
            )  # fmt: skip
            self.hands.append(self.scoped(robot, place, role))

    @rule(role=role_, place=place_)
    def get_a_machines_token(self, role: Role, place: str) -> None:
        where = self.environment if place == "here" else ELSEWHERE
        made = self.go(self.world.access.tokens.create_service(ROOT, "robot", {where: [role]}, sensitive=True))
        self.hands.append(self.scoped(Hand("machine", None, made.token, made.id, ends=made.expires_at), place, role))

    @precondition(lambda self: len(self.hands) > EVERYBODY)
    @rule(which=which_, by=anybody_, root=st.booleans())
    def revoke_a_token(self, which: int, by: int, root: bool) -> None:
        """By the operator, by whose it is, and by an administrator of wherever it reaches."""
        hand = self.hand(EVERYBODY + which % min(6, len(self.hands) - EVERYBODY))
        if hand.kind == "sdk":
            return
        if root:
            self.go(self.world.access.tokens.revoke(ROOT, hand.id))
        else:
            allowed = self.tried(self.hands[by], lambda actor: self.world.access.tokens.revoke(actor, hand.id))
            here = not hand.everywhere and not hand.elsewhere and self.may(self.hands[by], Action.MANAGE_KEYS)
            assert allowed == (by not in self.disabled and (by in {hand.who, BOSS} or here))
            if not allowed:
                return
        self.ends_with(hand.id)

    @rule(which=which_, place=place_)
    def make_an_sdk_key(self, which: int, place: str) -> None:
        hand, where = self.hand(which), self.environment if place == "here" else ELSEWHERE
        made: list[Any] = []

        async def make(actor: Actor) -> None:
            made.append(await self.world.access.keys.create(actor, where, "service"))

        assert self.tried(hand, make) == self.may_at(place, hand, Action.MANAGE_KEYS)
        if place == "here":
            self.hands += [Hand("sdk", None, key.key, key.id, frozenset({Role.SDK})) for key in made]

    @rule(which=which_, overlap=st.sampled_from([timedelta(0), HOUR]), end=st.booleans())
    def rotate_or_revoke_an_sdk_key(self, which: int, overlap: timedelta, end: bool) -> None:
        hand = self.hand(which)
        if hand.kind != "sdk" or self.over(hand):
            return
        keys = self.world.access.keys
        if end:
            self.go(keys.revoke(ROOT, self.environment, hand.id))
            self.put(hand, revoked=True)
            return
        made = self.go(keys.rotate(ROOT, self.environment, hand.id, overlap=overlap))
        ends = self.world.clock.now() + overlap
        self.put(hand, ends=ends if hand.ends is None else min(hand.ends, ends))
        self.hands.append(Hand("sdk", None, made.key, made.id, frozenset({Role.SDK}), made.expires_at))

    # What all of it is about

    @rule(needed=st.sampled_from([1, 1, 2]))
    def raise_the_bar(self, needed: int) -> None:
        needed = max(needed, self.needed)
        self.go(self.world.access.rule.set(ROOT, self.environment, needed))
        self.needed = needed

    @rule(which=which_, needed=st.integers(0, 2))
    def move_the_bar(self, which: int, needed: int) -> None:
        hand = self.hand(which)
        allowed = self.tried(hand, lambda actor: self.world.access.rule.set(actor, self.environment, needed))
        may = self.may(hand, Action.MANAGE_ENVIRONMENT)
        assert allowed == (may and (needed >= self.needed or hand.human in self.glass))
        if allowed:
            self.needed = needed

    @rule(which=which_)
    def look(self, which: int) -> None:
        """What a credential opens at all: an SDK's key opens evaluation, and nothing that reads or writes."""
        hand, reads = self.hand(which), self.world.services.reads
        assert self.tried(hand, lambda actor: reads.head(actor, self.environment)) == self.may(hand, Action.READ)

    @rule(which=which_)
    def commit_alone(self, which: int) -> None:
        hand, gate = self.hand(which), self.world.services.changes
        allowed = self.tried(hand, lambda actor: gate.commit(actor, self.environment, self.change(), "alone"))
        assert allowed == self.alone(hand)
        self.commits += allowed

    @rule(which=which_)
    def propose(self, which: int) -> None:
        hand, proposals = self.hand(which), self.world.services.proposals
        made: list[Any] = []

        async def propose(actor: Actor) -> None:
            made.append(await proposals.propose(actor, self.environment, self.change(), "together"))

        assert self.tried(hand, propose) == self.may(hand, Action.EDIT)
        self.proposals += [
            Modelled(each.id, each.edition, frozenset({hand.head}), frozenset(), self.step) for each in made
        ]

    @precondition(lambda self: self.proposals)
    @rule(which=which_, at=which_)
    def edit(self, which: int, at: int) -> None:
        hand, at = self.hand(which), at % len(self.proposals)
        found, edit = self.proposals[at], self.world.services.proposals.edit
        allowed = self.tried(
            hand, lambda actor: edit(actor, self.environment, found.id, self.change(), "edited", edition=found.edition)
        )
        assert allowed == self.may(hand, Action.EDIT)
        if allowed:
            self.proposals[at] = found._replace(
                edition=found.edition + 1, editors=found.editors | {hand.head}, approved=frozenset()
            )

    @precondition(lambda self: self.proposals)
    @rule(which=which_, at=which_, late=st.booleans())
    def approve(self, which: int, at: int, late: bool) -> None:
        hand, at = self.hand(which), at % len(self.proposals)
        found, approve = self.proposals[at], self.world.services.proposals.approve
        allowed = self.tried(hand, lambda actor: approve(actor, self.environment, found.id, found.edition - late))
        may = self.may(hand, Action.APPROVE) and hand.human is not None and not late
        assert allowed == (may and hand.head not in found.editors and hand.human not in found.approved)
        if allowed and hand.human is not None:
            self.proposals[at] = found._replace(approved=found.approved | {hand.human})

    @rule(plot=st.sampled_from(Plot), victim=who_, other=who_)
    def try_to_be_two(self, plot: Plot, victim: int, other: int) -> None:
        """The boss, alone, gets something through; or two people do, with whom the boss had something to do."""
        if other == victim:
            other = (victim + 1) % PEOPLE
        self.bar_at_one()
        for who in (victim, other):
            self.enable(who)
            self.grant(who, Role.EDITOR)
            if plot is not Plot.ROLE_BY_AUTHOR:
                self.grant(who, Role.APPROVER)
        author, approver = (victim, BOSS) if plot is Plot.PUPPET_PROPOSES else (BOSS, victim)
        if plot in {Plot.PUPPET_APPROVES, Plot.PUPPET_PROPOSES, Plot.TWO_PUPPETS}:
            self.reset_and_take_over(BOSS, victim)
        if plot is Plot.TWO_PUPPETS:
            self.reset_and_take_over(BOSS, other)
        if plot in {Plot.TWO_PUPPETS, Plot.LINK_LATER, Plot.ENABLED_LATER, Plot.HONEST}:
            author = other
        if plot is Plot.ROLE_BY_AUTHOR:
            for role in (Role.APPROVER, Role.ADMIN):
                self.revoke(victim, role)
            self.grant_by_anybody(BOSS, Role.APPROVER, victim)
        self.propose(author)
        self.time_goes_on()
        if plot is Plot.LINK_LATER:
            self.reset_and_take_over(BOSS, victim)
        if plot is Plot.ENABLED_LATER:
            self.disable(victim, None)
            self.enable(victim)
        self.approve(approver, len(self.proposals) - 1, late=False)
        self.commit_together(author, len(self.proposals) - 1)

    def bar_at_one(self) -> None:
        if self.needed > 1:
            self.break_glass(BOSS)
            self.move_the_bar(BOSS, 1)
        elif self.needed == 0:
            self.raise_the_bar(1)

    @rule(who=who_, role=st.sampled_from([Role.EDITOR, Role.OPERATOR, Role.APPROVER]))
    def narrow_the_maker_of_a_token(self, who: int, role: Role) -> None:
        self.grant(who, Role.ADMIN)
        self.enable(who)
        self.make_machines_token(who, Role.ADMIN, "here", 90 * 24 * HOUR)
        self.make_machines_token(EVERYBODY + len(self.hands[EVERYBODY:][-6:]) - 1, role, "here", 90 * 24 * HOUR)
        self.revoke(who, Role.ADMIN)
        self.no_token_exceeds_who_is_behind_it()

    @rule()
    def no_token_exceeds_who_is_behind_it(self) -> None:
        for hand in [hand for hand in self.hands if hand.kind in {"personal", "machine"}]:
            try:
                held = self.go(self.world.access.authenticator.by_bearer(hand.text, self.address)).grants
            except BrownoutError:
                held = {}
            actual = {action for action in Action if allows(held, action, self.environment)}
            assert actual == {action for action in Action if self.may(hand, action)}

    @precondition(lambda self: self.proposals)
    @rule(which=which_, at=which_)
    def commit_together(self, which: int, at: int) -> None:
        hand, at = self.hand(which), at % len(self.proposals)
        found, commit = self.proposals[at], self.world.services.proposals.commit
        at_most = sum(not self.alone_after_all(who, found) for who in found.approved)
        at_least = sum(self.beyond_doubt(who) for who in found.approved)
        allowed = self.tried(hand, lambda actor: commit(actor, self.environment, found.id))
        anybodys = any(not head.startswith("person ") for head in found.editors)
        needed = self.needed + anybodys if self.needed else 0
        if not self.may(hand, Action.EDIT) or at_most < needed:
            assert not allowed
        elif at_least >= needed:
            assert allowed
        if allowed:
            self.commits += 1
            del self.proposals[at]

    @rule(which=which_)
    def break_glass(self, which: int) -> None:
        hand, glass = self.hand(which), self.world.access.break_glass
        allowed = self.tried(hand, lambda actor: glass.break_(actor, self.environment, "because", HOUR))
        assert allowed == (self.may(hand, Action.BREAK_GLASS) and hand.human is not None)
        if allowed and hand.human is not None:
            self.glass.add(hand.human)

    @rule()
    def wait_until_glass_is_whole_and_short_tokens_are_over(self) -> None:
        self.world.clock.move(timedelta(minutes=61))
        self.glass.clear()

    @invariant()
    def time_goes_on(self) -> None:
        if hasattr(self, "step"):
            self.step += 1

    @invariant()
    def the_log_holds_what_was_allowed_and_the_audit_log_accounts_for_it(self) -> None:
        if not hasattr(self, "environment"):
            return
        assert self.go(self.world.services.store.head(self.environment)).revision == self.commits
        audited = self.go(
            self.world.access.audit.list_events(ROOT, limit=500, event=Event.COMMIT, environment=self.environment)
        )
        assert [line.entry.target for line in reversed(audited)] == [f"r{n + 1}" for n in range(self.commits)]


def test_no_order_of_events_lets_an_unauthorised_commit_through(anyio_backend: str, database_url: str) -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        world = runner.run(
            stack.enter_async_context(
                open_world(database_url, ELSEWHERE, approval_settle_hours=10_000, step_up_minutes=10**6)
            )
        )
        machine = type("Wired", (Machine,), {"runner": runner, "world": world})
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=12,
                    stateful_step_count=40,
                    phases=[Phase.generate],  # shrinking would go on in the same database for minutes
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(stack.aclose())
