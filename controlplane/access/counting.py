"""Which approvals of a proposal count, and why the others do not; the same for the review of broken glass."""

from collections.abc import Sequence
from datetime import timedelta

from controlplane.access.actor import Action, Grants, allows
from controlplane.access.bounds import Bounds
from controlplane.access.hands import Hands
from controlplane.access.queries import approvals as queries
from controlplane.access.queries import hands, people
from controlplane.access.queries.approvals import ApprovalRow, ProposalRow
from controlplane.access.values import GlassRow
from controlplane.kit.clock import Clock
from controlplane.kit.database import ReadConnection

_PERSON = "person:"


class Counting:
    """`settles`: how long a fresh account, link or second factor lets its maker pass for its person."""

    def __init__(self, clock: Clock, bounds: Bounds, settles: timedelta) -> None:
        self._clock = clock
        self._bounds = bounds
        self._settles = settles

    async def needed(
        self, connection: ReadConnection, environment: str, proposals: Sequence[ProposalRow]
    ) -> dict[int, int]:
        """Proposal → how many approvals it needs: one more where a token has a hand in it that no person answers for,
        because one of the approvers may hold it."""
        wanted = await queries.requires(connection, environment)
        anybodys = await queries.by_anybody(connection, environment) if wanted else frozenset()
        return {row.id: wanted + (row.id in anybodys) for row in proposals}

    async def objections(
        self, connection: ReadConnection, proposals: Sequence[ProposalRow], given: Sequence[ApprovalRow]
    ) -> dict[tuple[int, str], str]:
        """(proposal, principal) → why their approval does not count; empty when it does."""
        by_id = {row.id: row for row in proposals}
        approvers: dict[int, set[str]] = {}
        for each in given:
            if each.proposal in by_id:
                approvers.setdefault(each.proposal, set()).add(each.principal)
        if not approvers:
            return {}
        changes = await hands.changes(connection, min(by_id[i].created_at for i in approvers) - self._settles)
        held: dict[str, Grants] = {}
        found: dict[tuple[int, str], str] = {}
        for proposal, principals in approvers.items():
            row = by_id[proposal]
            seen = Hands(changes, row.opened, row.created_at - self._settles)
            others = principals | await queries.editors(connection, proposal)
            for principal in principals:
                if principal not in held:
                    held[principal] = await self._held(connection, principal)
                found[proposal, principal] = _may(held[principal], row.environment) or seen.objection(
                    principal, others, _by(held[principal], row.environment)
                )
        return found

    async def review(self, connection: ReadConnection, principal: str, glass: GlassRow) -> str:
        """Why this principal's review of broken glass would not count; empty when it does."""
        since = glass.started_at - self._settles
        held = await self._held(connection, principal)
        seen = Hands(await hands.changes(connection, since), glass.opened, since)
        return _may(held, glass.environment) or seen.objection(
            principal, (glass.principal,), _by(held, glass.environment)
        )

    async def _held(self, connection: ReadConnection, principal: str) -> Grants:
        """What the person behind it may, as their tokens may; nothing when they are disabled, or no person."""
        if not principal.startswith(_PERSON):
            return {}
        row = await people.by_id(connection, principal.removeprefix(_PERSON))
        if row is None or row.disabled_at is not None:
            return {}
        return await people.held(connection, row.id, self._bounds.tokens_since(self._clock.now()))


def _may(held: Grants, environment: str) -> str:
    return "" if _by(held, environment) else "they may no longer approve here"


def _by(held: Grants, environment: str) -> list[tuple[str, str]]:
    """The (environment, role) pairs that let them approve here."""
    return [
        (where, role)
        for where, roles in sorted(held.items())
        for role in sorted(roles)
        if allows({where: frozenset({role})}, Action.APPROVE, environment)
    ]
