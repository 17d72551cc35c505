"""Changes that wait for others: proposed, edited, approved, rebased, committed or withdrawn (ADR 0063)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, authorize
from controlplane.access.audit import Audit
from controlplane.access.counting import Counting
from controlplane.access.queries import approvals as queries
from controlplane.access.queries.approvals import ApprovalRow, ProposalRow
from controlplane.access.rebasing import Side, rebased
from controlplane.access.rule import require_words
from controlplane.access.values import Approval, Event
from controlplane.configuration.store import StaleRevisionError, Store
from controlplane.configuration.store.basis import Bases, Expected, is_expected
from controlplane.configuration.store.commit import Witness
from controlplane.configuration.store.values import Commit, Head, Preview, ResourceDiff
from controlplane.errors import (
    ApprovalRequiredError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    StaleProposalError,
)
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, ReadConnection, WriteConnection

_ATTEMPTS = 5
EDITED = "it was edited since you looked; look again"


class Gate(Protocol):
    """What of Changes a proposal needs."""

    async def preview(
        self, actor: Actor, environment: str, ops: Sequence[Operation], *, bases: Bases | None = None
    ) -> Preview: ...

    async def carry_out(
        self,
        actor: Actor,
        environment: str,
        ops: Sequence[Operation],
        message: str,
        *,
        author: str,
        expected_revision: int,
        closing: Witness,
    ) -> Commit: ...


class Proposal(msgspec.Struct, frozen=True):
    """`edition` grows with each edit; an approval is of one edition only."""

    id: int
    environment: str
    message: str
    author: str
    base_revision: int
    edition: int
    state: str
    revision: int | None
    operations: tuple[Operation, ...]
    approvals: tuple[Approval, ...]
    needed: int
    created_at: datetime
    updated_at: datetime

    @property
    def approved(self) -> bool:
        return sum(approval.counts for approval in self.approvals) >= self.needed


class ProposalView(msgspec.Struct, frozen=True):
    """A proposal, what it would do now, and what others did since its base to the very resources that it changes."""

    proposal: Proposal
    preview: Preview
    theirs: tuple[ResourceDiff, ...]

    @property
    def stale(self) -> bool:
        return bool(self.theirs)


class Proposals:
    def __init__(
        self, *, database: Database, clock: Clock, audit: Audit, store: Store, gate: Gate, counting: Counting
    ) -> None:
        self._counting = counting
        self._database = database
        self._clock = clock
        self._audit = audit
        self._store = store
        self._gate = gate

    async def list_proposals(self, actor: Actor, environment: str, state: str = "open") -> list[Proposal]:
        """The newest first; `state` empty: all."""
        authorize(actor, Action.READ, environment)
        async with self._database.snapshot() as connection:
            rows = await queries.proposals(connection, environment, state)
            given = await queries.approvals(connection, environment)
            needed = await self._counting.needed(connection, environment, rows)
            against = await self._counting.objections(connection, rows, given)
        return [_proposal(row, given, needed[row.id], against) for row in rows]

    async def get(self, actor: Actor, environment: str, proposal_id: int) -> ProposalView:
        """Raises NotFoundError."""
        authorize(actor, Action.READ, environment)
        async with self._database.snapshot() as connection:
            found = await self._load(connection, environment, proposal_id)
        preview = await self._store.preview(environment, found.operations)
        if found.state != "open":
            return ProposalView(found, preview, ())
        return ProposalView(found, preview, await self._theirs(found, await self._store.head(environment)))

    async def propose(
        self,
        actor: Actor,
        environment: str,
        ops: Sequence[Operation],
        message: str,
        *,
        bases: Bases | None = None,
        expected_revision: Expected = None,
    ) -> Proposal:
        """Puts a change before others.

        Raises:
            InvalidInputError: it would not compile now: what cannot be committed is not put before others.
            ConflictError: it was made from a state that is no longer the present one; `bases` and `expected_revision`
                as in Changes.commit.
        """
        words, head = require_words(message, "message"), await self._checked(actor, environment, ops, bases)
        if not is_expected(expected_revision, head):
            raise StaleProposalError(f"the environment is at {head}, which is not what this was made from")
        async with self._database.transaction() as connection:
            made = await queries.insert_proposal(
                connection, environment=environment, operations=msgspec.json.encode(ops), message=words, base=head,
                author=actor.name, principal=actor.principal, at=self._clock.now(),
            )  # fmt: skip
            await queries.add_editor(connection, made, actor.principal)
            found = await self._load(connection, environment, made)
            await self._record(connection, Event.PROPOSED, actor, found)
        return found

    async def edit(
        self, actor: Actor, environment: str, proposal_id: int, ops: Sequence[Operation], message: str, *, edition: int
    ) -> Proposal:
        """Replaces what is proposed in `edition`, and loses every approval.

        What others committed since its base stays to be seen: rebase it.

        Raises:
            ConflictError: closed, or edited since that edition.
        """
        words = require_words(message, "message")
        await self._checked(actor, environment, ops)
        return await self._replace(actor, environment, proposal_id, edition=edition, ops=ops, words=words)

    async def _replace(
        self,
        actor: Actor,
        environment: str,
        proposal_id: int,
        *,
        edition: int,
        ops: Sequence[Operation],
        words: str,
        base: int | None = None,
    ) -> Proposal:
        async with self._database.transaction() as connection:
            row = await _open(connection, environment, proposal_id)
            if row.edition != edition:
                raise StaleProposalError(EDITED)
            await queries.edit_proposal(
                connection, proposal_id, operations=msgspec.json.encode(ops), message=words,
                base=row.base_revision if base is None else base, at=self._clock.now(),
            )  # fmt: skip
            await queries.add_editor(connection, proposal_id, actor.principal)
            found = await self._load(connection, environment, proposal_id)
            await self._record(connection, Event.PROPOSAL_EDITED, actor, found)
        return found

    async def rebase(
        self, actor: Actor, environment: str, proposal_id: int, edition: int, prefer: Side | None = None
    ) -> Proposal:
        """Merges what `edition` proposes with what others committed since its base, and loses every approval.

        Args:
            prefer: whose value a field gets that both changed.

        Raises:
            MergeConflictError: both changed the same fields, and `prefer` chooses none; `faults` name them.
            ConflictError: closed, or edited since that edition.
        """
        authorize(actor, Action.EDIT, environment)
        async with self._database.reading() as connection:
            found = await self._load(connection, environment, proposal_id)
        if found.edition != edition:
            raise StaleProposalError(EDITED)
        head = await self._store.head(environment)
        theirs = await self._theirs(found, head)
        ops = rebased(found.operations, theirs, prefer)
        checked = await self._gate.preview(actor, environment, ops)
        if checked.faults:
            raise InvalidInputError(checked.faults[0].message, checked.faults)
        return await self._replace(
            actor, environment, proposal_id, edition=edition, ops=ops, words=found.message, base=head.revision
        )

    async def approve(self, actor: Actor, environment: str, proposal_id: int, edition: int, note: str = "") -> Proposal:
        """Says yes to one edition.

        Raises:
            ForbiddenError: no role for it, not a person, or a hand in the proposal.
            ConflictError: closed, or edited since they looked.
        """
        authorize(actor, Action.APPROVE, environment)
        if not actor.human:
            raise ForbiddenError("only people can approve, not their service tokens")
        async with self._database.transaction() as connection:
            row = await _open(connection, environment, proposal_id)
            if row.edition != edition:
                raise ConflictError(EDITED)
            if actor.principal in await queries.editors(connection, proposal_id):
                raise ForbiddenError("you cannot approve a proposal that you have a hand in")
            given = ApprovalRow(proposal_id, edition, actor.principal, actor.name, note[:2000], self._clock.now())
            if not await queries.approve(connection, given):
                raise ConflictError("you have approved it already")
            found = await self._load(connection, environment, proposal_id)
            await self._record(connection, Event.APPROVED, actor, found, note)
        return found

    async def withdraw(self, actor: Actor, environment: str, proposal_id: int, reason: str = "") -> Proposal:
        """By its author, or by who manages the environment."""
        authorize(actor, Action.EDIT, environment)
        async with self._database.transaction() as connection:
            row = await _open(connection, environment, proposal_id)
            if row.author_principal != actor.principal:
                authorize(actor, Action.MANAGE_ENVIRONMENT, environment)
            await queries.close_proposal(connection, proposal_id, "withdrawn", self._clock.now())
            found = await self._load(connection, environment, proposal_id)
            await self._record(connection, Event.PROPOSAL_WITHDRAWN, actor, found, reason)
        return found

    async def commit(self, actor: Actor, environment: str, proposal_id: int) -> Commit:
        """Carries out what enough others have approved; closed in the commit's own transaction (ADR 0066).

        Raises:
            ApprovalRequiredError: too few approvals that count.
            StaleProposalError: somebody changed the same resources since its base.
            ConflictError: closed or edited meanwhile, or others keep committing.
        """
        authorize(actor, Action.EDIT, environment)
        for _ in range(_ATTEMPTS):
            async with self._database.snapshot() as connection:
                found = await self._ready(connection, environment, proposal_id)
            head = await self._store.head(environment)
            theirs = await self._theirs(found, head)
            if theirs:
                names = ", ".join(f"{diff.kind} {diff.key}" for diff in theirs[:3])
                raise StaleProposalError(f"{names} changed since it was proposed; rebase it")
            try:
                return await self._carry_out(actor, found, head)
            except StaleRevisionError:
                continue  # somebody committed since we compared: compare again
        raise ConflictError("others keep committing; try again")

    async def _carry_out(self, actor: Actor, found: Proposal, head: Head) -> Commit:
        async def closing(connection: WriteConnection, commit: Commit) -> None:
            await _open(connection, found.environment, found.id)
            now_found = await self._ready(connection, found.environment, found.id)
            if now_found.edition != found.edition:
                raise ConflictError("it was edited meanwhile; look again")
            await queries.close_proposal(connection, found.id, "committed", commit.created_at, commit.revision)

        commit = await self._gate.carry_out(
            actor, found.environment, found.operations, found.message,
            author=found.author, expected_revision=head.revision, closing=closing,
        )  # fmt: skip
        if commit.unchanged:  # somebody else made it so already: nothing to commit, and nothing to wait for
            async with self._database.transaction() as connection:
                await closing(connection, commit)
        return commit

    async def _ready(self, connection: ReadConnection, environment: str, proposal_id: int) -> Proposal:
        """An open proposal with enough approvals that count."""
        found = await self._load(connection, environment, proposal_id)
        if found.state != "open":
            raise ConflictError(f"that proposal is {found.state} already")
        if not found.approved:
            given = sum(approval.counts for approval in found.approvals)
            raise ApprovalRequiredError(f"{given} of {found.needed} approvals so far")
        return found

    async def _load(self, connection: ReadConnection, environment: str, proposal_id: int) -> Proposal:
        row = await queries.proposal(connection, environment, proposal_id)
        if row is None:
            raise NotFoundError(f"{environment} has no proposal {proposal_id}")
        given = await queries.approvals(connection, environment, proposal_id)
        needed = await self._counting.needed(connection, environment, (row,))
        return _proposal(row, given, needed[row.id], await self._counting.objections(connection, (row,), given))

    async def _checked(
        self, actor: Actor, environment: str, ops: Sequence[Operation], bases: Bases | None = None
    ) -> int:
        """The head's revision. Raises what committing `ops` now would raise, except for approvals."""
        preview = await self._gate.preview(actor, environment, ops, bases=bases)
        if preview.faults:
            raise InvalidInputError(preview.faults[0].message, preview.faults)
        return preview.head.revision

    async def _theirs(self, found: Proposal, head: Head) -> tuple[ResourceDiff, ...]:
        """What changed since the base among the resources that the proposal touches."""
        if head.revision == found.base_revision:
            return ()
        touched = {(op.kind, op.key) for op in found.operations}
        diff = await self._store.diff(found.environment, found.base_revision, head.revision)
        return tuple(each for each in diff.resources if (each.kind, each.key) in touched)

    async def _record(
        self, connection: WriteConnection, event: Event, actor: Actor, found: Proposal, reason: str = ""
    ) -> None:
        await self._audit.record(
            connection, event, actor, environment=found.environment, target=f"proposal {found.id}",
            reason=reason or found.message, detail={"edition": found.edition},
        )  # fmt: skip


async def _open(connection: WriteConnection, environment: str, proposal_id: int) -> ProposalRow:
    row = await queries.proposal(connection, environment, proposal_id, lock=True)
    if row is None:
        raise NotFoundError(f"{environment} has no proposal {proposal_id}")
    if row.state != "open":
        raise ConflictError(f"that proposal is {row.state} already")
    return row


def _proposal(
    row: ProposalRow, given: Sequence[ApprovalRow], needed: int, against: Mapping[tuple[int, str], str]
) -> Proposal:
    return Proposal(
        id=row.id,
        environment=row.environment,
        message=row.message,
        author=row.author,
        base_revision=row.base_revision,
        edition=row.edition,
        state=row.state,
        revision=row.revision,
        operations=msgspec.json.decode(row.operations, type=tuple[Operation, ...]),
        approvals=tuple(
            Approval(each.approver, each.note, each.approved_at, not (why := against[row.id, each.principal]), why)
            for each in given
            if each.proposal == row.id and each.edition == row.edition
        ),
        needed=needed,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
