"""The two-person rule of an environment: who may commit alone (ADR 0063).

Nobody waits for a second person to make things safer: safe mode by an operator is never held up, and neither is the
control plane itself carrying out what was committed before. Anything else waits for approvals, or breaks the glass.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, authorize
from controlplane.access.audit import Audit
from controlplane.access.queries import approvals as queries
from controlplane.access.values import Event
from controlplane.configuration.store import lock_environment
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
    """Why a commit may go ahead; `glass` is the id of what was broken for it."""

    why: Literal["no rule", "safe mode", "control plane", "approved", "break-glass"]
    glass: int | None = None


class CommitRule:
    """Asked by Changes before each commit, and its witness."""

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

    async def check(self, actor: Actor, environment: str, ops: Sequence[Operation], action: Action) -> None:
        """Spares the work of a commit that would be refused.

        Raises:
            ApprovalRequiredError: this actor may not make it alone.
        """
        if _never_waits(actor, ops, action) is None:
            async with self._database.reading() as connection:
                await self.passes(connection, actor, environment, ops, action)

    async def passes(
        self, connection: ReadConnection, actor: Actor, environment: str, ops: Sequence[Operation], action: Action
    ) -> Pass:
        """Raises as `check` does; what it answers holds until the end of a transaction that has the environment locked,
        as that of a commit."""
        if (free := _never_waits(actor, ops, action)) is not None:
            return free
        needed = await queries.requires(connection, environment)
        if needed == 0:
            return Pass("no rule")
        glass = await self._glass(connection, actor, environment)
        if glass is None:
            what = "another person's approval" if needed == 1 else f"{needed} other people's approval"
            raise ApprovalRequiredError(f"{environment} wants {what} for this: propose it instead")
        return Pass("break-glass", glass)

    async def _glass(self, connection: ReadConnection, actor: Actor, environment: str) -> int | None:
        """What the actor has broken: the person, not the machines they made."""
        if not actor.human:
            return None
        return await queries.open_glass(connection, environment, actor.principal, self._clock.now())

    async def record(self, connection: WriteConnection, actor: Actor, commit: Commit, how: Pass) -> None:
        """Puts a commit on record in its own transaction: there is none without a line in the audit log."""
        if how.glass is not None:
            await queries.note_use(connection, how.glass, f"r{commit.revision}")
        await self._audit.record(
            connection, Event.COMMIT, actor, environment=commit.environment, target=f"r{commit.revision}",
            reason=commit.message, detail={"revision": commit.revision, "allowed_by": how.why},
        )  # fmt: skip


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
