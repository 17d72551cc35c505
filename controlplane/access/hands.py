"""One person, one hand: whose account is whose own, as far as the two-person rule must know (ADR 0067). Pure.

An approval is worth something when nobody else in the proposal could have given it. Whoever makes an account, a sign-in
link or a second factor could use it, and whoever gives the role decides who approves.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from controlplane.access.queries.hands import AccountChange

_OPENS = frozenset({"account", "link", "factor"})
"""With these in hand one can act as the person."""

_NOBODYS = "system:"
"""The control plane, and the identity provider through it, are no hands."""


class Hands:
    """How people's accounts came about, seen from what was opened at place `opened` of the common order.

    `since`: changes later than that are fresh: nobody has had the time to notice and object.
    """

    def __init__(self, changes: Sequence[AccountChange], opened: int, since: datetime) -> None:
        self._opened = opened
        self._of: dict[str, list[AccountChange]] = {}
        self._makers: dict[str, set[str]] = {}
        for change in changes:
            holder = f"person:{change.person}"
            if change.ended is None:
                self._of.setdefault(holder, []).append(change)
            works = change.ended is None or change.ended > opened
            fresh = change.at > since or change.id > opened
            if works and fresh and change.kind in _OPENS and _is_hand(change.principal):
                self._makers.setdefault(holder, set()).add(change.principal)

    def behind(self, principal: str) -> frozenset[str]:
        """Everybody who could be acting as this principal: they, and who freshly made their way in, and so on."""
        found, ahead = {principal}, [principal]
        while ahead:
            more = self._makers.get(ahead.pop(), set()) - found
            found |= more
            ahead += more
        return frozenset(found)

    def objection(self, principal: str, others: Iterable[str], roles: Iterable[tuple[str, str]]) -> str:
        """Why what `principal` says does not count beside `others`; empty when it does.

        `roles`: the (environment, role) pairs by which they may say it. One that is beyond doubt is enough.
        """
        hands = frozenset(others) - {principal}
        mine = self._of.get(principal, [])
        for change in mine:
            if change.kind != "role" and (why := self._against(change, principal, hands)):
                return why
        if any(map(_anybodys, self.behind(principal).union(*map(self.behind, filter(_is_person, hands))))):
            return "a token that belongs to no person recently made an account or link for a person in it"
        if any(self.behind(principal) & self.behind(hand) for hand in hands):
            return "the same person or token recently made an account or link for them and for another person in it"
        doubts = [self._about_role(mine, principal, hands, *role) for role in roles]
        return doubts[0] if doubts and all(doubts) else ""

    def _about_role(
        self, mine: Iterable[AccountChange], principal: str, hands: frozenset[str], environment: str, role: str
    ) -> str:
        for change in mine:
            if change.kind == "role" and (change.environment, change.role) == (environment, role):
                return self._against(change, principal, hands)
        return ""

    def _against(self, change: AccountChange, principal: str, hands: frozenset[str]) -> str:
        if change.id > self._opened:
            return f"{_words(change)} after it was opened"
        if change.principal != principal and self.behind(change.principal) & hands:
            return f"{_words(change)}, and {_has(change, hands)} a hand in it"
        return ""


def _is_hand(principal: str) -> bool:
    return not principal.startswith(_NOBODYS)


def _is_person(principal: str) -> bool:
    return principal.startswith("person:")


def _anybodys(principal: str) -> bool:
    """A token without a person behind it: whoever holds it may be anybody."""
    return _is_hand(principal) and not _is_person(principal)


def _has(change: AccountChange, hands: frozenset[str]) -> str:
    return "has" if change.principal in hands else "another person behind them has"


def _words(change: AccountChange) -> str:
    match change.kind:
        case "account":
            return f"{change.actor} made their account"
        case "link":
            return f"{change.actor} made them a sign-in link"
        case "password":
            return "their password was set by a link"
        case "factor":
            return f"{change.actor} changed their second factor"
        case "identity":
            return "an identity of single sign-on was joined to their account"
        case "enabled":
            return f"{change.actor} let them in again"
        case "role":
            return f"{change.actor} made them {change.role}"
