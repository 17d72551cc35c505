"""The two-person rule of an environment: who may commit alone (ADR 0063).

Nobody waits for a second person to make things safer: safe mode by an operator is never held up, neither is a change
that only makes things safer (configuration/safer.py; someone else reviews it afterwards), nor the control plane itself
carrying out what was committed before. Anything else waits for approvals, or breaks the glass.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from brownout.model.resources import ResourceRef
from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, authorize
from controlplane.access.audit import Audit
from controlplane.access.queries import approvals as queries
from controlplane.access.values import Event
from controlplane.configuration import safer
from controlplane.configuration.store import lock_environment, revisions_that_put
from controlplane.configuration.store.values import Commit
from controlplane.contract.kinds import alone
from controlplane.errors import ApprovalRequiredError, Fault, InvalidInputError
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, ReadConnection, WriteConnection

MAX_APPROVALS = 10


class Rule(msgspec.Struct, frozen=True):
    environment: str
    requires_approvals: int


class Pass(msgspec.Struct, frozen=True):
    """Why a commit may go ahead; `glass` is the id of what was broken for it. `safer` is reviewed afterwards."""

    why: Literal["no rule", "safe mode", "control plane", "approved", "break-glass", "safer"]
    glass: int | None = None


class CommitRule:
    """The witness of each commit that Changes makes: asked once, in its transaction."""

    def __init__(self, database: Database, clock: Clock, audit: Audit) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit

    async def get(self, actor: Actor, environment: str) -> Rule:
        authorize(actor, Action.READ, environment)
        async with self._database.reading() as connection:
            return Rule(environment, await queries.requires(connection, environment))

    async def set(self, actor: Actor, environment: str, approvals: int, reason: str = "") -> Rule:
        """Asking for more is an administrator's to decide; asking for less needs broken glass while the rule holds.

        Raises:
            ApprovalRequiredError: less, without broken glass.
            NotFoundError: there is no such environment.
        """
        authorize(actor, Action.MANAGE_ENVIRONMENT, environment)
        if not 0 <= approvals <= MAX_APPROVALS:
            message = f"between 0 and {MAX_APPROVALS} approvals"
            raise InvalidInputError(message, (Fault("invalid_value", message, "/requires_approvals"),))
        async with self._database.transaction() as connection:
            # Commits hold this while they look at the rule: those that come after it cannot have seen the one before.
            await lock_environment(connection, environment)
            before = await queries.requires(connection, environment)
            if approvals < before:
                await self.loosen(connection, actor, environment, f"requires_approvals {before} → {approvals}")
            await queries.set_requires(connection, environment, approvals)
            await self._audit.record(
                connection, Event.RULE_CHANGED, actor, environment=environment, reason=reason,
                detail={"before": before, "after": approvals},
            )  # fmt: skip
        return Rule(environment, approvals)

    async def loosen(self, connection: WriteConnection, actor: Actor, environment: str, what: str) -> None:
        """Puts a step out of the rule's reach on the record of the glass that was broken for it.

        Raises:
            ApprovalRequiredError: the rule holds here, and the actor has broken no glass.
        """
        if await queries.requires(connection, environment) == 0:
            return
        glass = await self._glass(connection, actor, environment)
        if glass is None:
            raise ApprovalRequiredError(f"no one can loosen {environment}'s protection alone: break glass ({what})")
        await queries.note_use(connection, glass, what)

    async def passes(
        self, connection: ReadConnection, actor: Actor, commit: Commit, ops: Sequence[Operation], action: Action
    ) -> Pass:
        """What lets `commit` through, in its own transaction, which has the environment locked.

        Raises:
            ApprovalRequiredError: this actor may not make it alone.
        """
        environment = commit.environment
        if (free := _never_waits(actor, ops, action)) is not None:
            return free
        needed = await queries.requires(connection, environment)
        if needed == 0:
            return Pass("no rule")
        why_not = safer.objections(commit.changes, await self._approved(connection, commit))
        if not why_not:
            return Pass("safer")
        glass = await self._glass(connection, actor, environment)
        if glass is None:
            raise _waits(environment, needed, why_not)
        return Pass("break-glass", glass)

    @staticmethod
    async def _approved(connection: ReadConnection, commit: Commit) -> frozenset[ResourceRef]:
        """The resources that become what they were once, when no one acted alone."""
        alone = await queries.revisions_alone(connection, commit.environment)
        found = set()
        for change in commit.changes:
            if change.after is None or change.kind not in safer.KINDS:
                continue
            earlier = await revisions_that_put(
                connection, commit.environment, change.ref, change.after, commit.revision
            )
            if any(revision not in alone for revision in earlier):
                found.add(change.ref)
        return frozenset(found)

    async def _glass(self, connection: ReadConnection, actor: Actor, environment: str) -> int | None:
        """What the actor has broken: the person, not the machines they made."""
        if not actor.human:
            return None
        return await queries.open_glass(connection, environment, actor.principal, self._clock.now())

    async def record(self, connection: WriteConnection, actor: Actor, commit: Commit, how: Pass) -> None:
        """Puts a commit on record in its own transaction: there is none without a line in the audit log."""
        if how.glass is not None:
            await queries.note_use(connection, how.glass, f"r{commit.revision}")
        if how.why == "safer":
            await self._leave_for_review(connection, actor, commit)
        await self._audit.record(
            connection, Event.COMMIT, actor, environment=commit.environment, target=f"r{commit.revision}",
            reason=commit.message, detail={"revision": commit.revision, "allowed_by": how.why},
        )  # fmt: skip

    async def _leave_for_review(self, connection: WriteConnection, actor: Actor, commit: Commit) -> None:
        """Among what was done under broken glass, but without the alarm: it is over as it begins."""
        made = await queries.break_glass(
            connection, environment=commit.environment, principal=actor.principal, actor=actor.name,
            reason=f"Only made safer: {commit.message}"[:2000], at=commit.created_at, expires_at=commit.created_at,
        )  # fmt: skip
        await queries.note_use(connection, made, f"r{commit.revision}")


def _waits(environment: str, needed: int, why_not: Sequence[str]) -> ApprovalRequiredError:
    what = "another person's approval" if needed == 1 else f"{needed} other people's approval"
    because = f". Not only safer: {'; '.join(why_not[:3])}" if why_not else ""
    return ApprovalRequiredError(f"{environment} wants {what} for this: propose it instead{because}")


def _never_waits(actor: Actor, ops: Sequence[Operation], action: Action) -> Pass | None:
    if actor.kind == "system":
        return Pass("control plane")
    if action is Action.SAFE_MODE and all(map(alone, ops)):
        return Pass("safe mode")
    return None


def require_words(text: str, field: str) -> str:
    """Raises InvalidInputError unless somebody wrote something."""
    clean = text.strip()
    if not 1 <= len(clean) <= 2000:
        message = f"say why, in at most 2000 characters: {field} is empty or longer"
        raise InvalidInputError(message, (Fault("invalid_value", message, f"/{field}"),))
    return clean
