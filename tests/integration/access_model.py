"""What a model of access knows: people, roles, links, tokens and keys, and what each way in may do at this moment."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import msgspec
from hypothesis.stateful import RuleBasedStateMachine

from brownout.wire import Operation
from controlplane.access.actor import PERMISSIONS, Action, Actor, Role
from controlplane.access.sessions import Origin
from controlplane.errors import BrownoutError
from tests.integration.accessing import World

T = TypeVar("T")
PEOPLE = 3
BOSS = 3
"""An administrator of everything, whom nobody touches; the others have roles here at most."""
EVERYBODY = 4


class Hand(NamedTuple):
    """A way in, as the model knows it: a person's session, a token of theirs, a machine's, an SDK's key."""

    kind: str
    who: int | None = None
    """The person: whose session or token it is; who made the machine (None: the control plane's operator)."""
    text: str = ""
    id: str = ""
    asks: frozenset[Role] = frozenset()
    """The scope of a token; what an SDK key always has."""
    ends: datetime | None = None
    revoked: bool = False
    elsewhere: frozenset[Role] = frozenset()
    """What a machine's token may in the other environment; only the boss has a role there."""
    everywhere: bool = False
    """A personal token without a scope."""
    parent: str = ""
    """The id of the machine's token with which it was made."""
    taken_over: bool = False

    @property
    def human(self) -> int | None:
        return self.who if self.kind in {"session", "personal"} else None

    @property
    def head(self) -> str:
        """Whoever has a hand in a proposal by any of their means does not approve it by another."""
        return self.id if self.who is None else f"person {self.who}"


class Link(NamedTuple):
    """Somebody made a way into somebody's account, and may have kept it; `ended`: another one replaced it."""

    maker: int
    at: int
    ended: int | None = None


class Modelled(NamedTuple):
    """What the model knows of a proposal."""

    id: int
    edition: int
    editors: frozenset[str]
    approved: frozenset[int]
    opened: int


class AccessModel(RuleBasedStateMachine):
    """What is expected of every hand, and how it acts. `Machine` has the rules."""

    runner: asyncio.Runner
    world: World
    emails: list[str]
    passwords: list[str]
    cookies: list[str]
    roles: list[set[Role]]
    """By person, in this environment."""
    given: list[dict[Role, tuple[int | None, int]]]
    """By person: who gave a role (None: the operator), at which step."""
    links: list[list[Link]]
    let_in_again: list[int]
    """By person: the step at which the account was last enabled; 0 for never."""
    disabled: set[int]
    hands: list[Hand]
    needed: int
    """Approvals that a commit needs."""
    glass: set[int]
    """People under broken glass."""
    address: str
    flags: Iterator[int]

    def go(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def held(self, who: int) -> frozenset[Action]:
        return frozenset().union(*(PERMISSIONS[role] for role in self.roles[who]))

    def over(self, hand: Hand) -> bool:
        return hand.revoked or (hand.ends is not None and hand.ends <= self.world.clock.now())

    def may(self, hand: Hand, action: Action) -> bool:
        """A token never does more than the person behind it may at this moment; what the operator made has roles of its
        own."""
        if self.over(hand) or (hand.who is not None and hand.who in self.disabled):
            return False
        if hand.kind == "session":
            return action in self.held(hand.who or 0)
        asked = [PERMISSIONS[role] for role in hand.asks]
        if hand.who is not None:
            asked = [each for each in asked if each <= self.held(hand.who)]
        return any(action in each for each in asked)

    def may_at(self, place: str, hand: Hand, action: Action) -> bool:
        if place == "here":
            return self.may(hand, action)
        if hand.who == BOSS and (hand.kind == "session" or hand.everywhere):
            return not self.over(hand)
        bounded = hand.who is not None and hand.who != BOSS
        return not self.over(hand) and not bounded and any(action in PERMISSIONS[role] for role in hand.elsewhere)

    def ends_with(self, token_id: str) -> None:
        """A token is revoked, and everything that was made with it."""
        gone, before = {token_id}, set[str]()
        while gone != before:
            before, gone = gone, gone | {hand.id for hand in self.hands if hand.parent in gone}
        self.hands = [hand._replace(revoked=True) if hand.id in gone else hand for hand in self.hands]

    def behind(self, who: int, opened: int) -> set[int]:
        """Everybody who could be acting as this person, by links that opened something since then."""
        found, ahead = {who}, [who]
        while ahead:
            makers = {link.maker for link in self.links[ahead.pop()] if link.ended is None or link.ended > opened}
            ahead += makers - found
            found |= makers
        return found

    def alone_after_all(self, who: int, found: Modelled) -> bool:
        """Whether this approval must not count: somebody else in the proposal may have given it, or made its giver."""
        if Action.APPROVE not in self.held(who) or who in self.disabled or self.let_in_again[who] > found.opened:
            return True
        people = {int(head.removeprefix("person ")) for head in found.editors if head.startswith("person ")}
        others = (people | found.approved) - {who}
        if any(link.at > found.opened or (link.ended is None and link.maker in others) for link in self.links[who]):
            return True
        if any(self.behind(who, found.opened) & self.behind(other, found.opened) for other in others):
            return True
        by = [self.given[who].get(role) for role in self.roles[who] if Action.APPROVE in PERMISSIONS[role]]
        return all(hand is not None and (hand[1] > found.opened or hand[0] in others) for hand in by)

    def beyond_doubt(self, who: int) -> bool:
        """Whether it must count: nobody but the operator ever touched anybody."""
        untouched = not any(self.links) and not self.given[who] and not self.let_in_again[who]
        return untouched and Action.APPROVE in self.held(who) and who not in self.disabled

    def alone(self, hand: Hand) -> bool:
        return self.may(hand, Action.EDIT) and (self.needed == 0 or hand.human in self.glass)

    # The real thing

    async def enter(self, hand: Hand) -> Actor:
        """Whoever the door takes this hand for."""
        access, who = self.world.access, hand.who or 0
        if hand.kind != "session":
            return await access.authenticator.by_bearer(hand.text, self.address)
        actor = await access.authenticator.by_session(self.cookies[who], self.address)
        if actor is None or actor.stale:  # over, or its person was let in again: they sign in anew, if they may
            entered = await access.sign_in.with_password(self.emails[who], self.passwords[who], Origin(self.address))
            self.cookies[who] = entered.secret
            actor = await access.authenticator.by_session(entered.secret, self.address)
        assert actor is not None
        return actor

    def tried(self, hand: Hand, act: Callable[[Actor], Awaitable[object]]) -> bool:
        """Whether it was allowed."""

        async def whole() -> None:
            await act(await self.enter(hand))

        try:
            self.go(whole())
        except BrownoutError:
            return False
        return True

    def hand(self, which: int) -> Hand:
        """The people's sessions among as many of the newest others: what is old has been tried."""
        others = self.hands[EVERYBODY:][-6:]
        return [*self.hands[:EVERYBODY], *others][which % (EVERYBODY + len(others))]

    @staticmethod
    def scoped(hand: Hand, place: str, role: Role) -> Hand:
        roles = frozenset({role})
        return hand._replace(asks=roles) if place == "here" else hand._replace(elsewhere=roles)

    def put(self, hand: Hand, **changes: Any) -> None:
        self.hands[self.hands.index(hand)] = hand._replace(**changes)

    def change(self) -> list[Operation]:
        spec = {"type": "boolean", "description": "", "owner": "", "tags": [], "enabled": True,
                "variants": {"on": True, "off": False}, "off_variant": "off", "rules": [], "default": "on"}  # fmt: skip
        return [Operation("put", "flag", f"f{next(self.flags)}", msgspec.Raw(msgspec.json.encode(spec)))]
