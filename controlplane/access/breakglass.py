"""Breaking the glass: committing alone where others should have looked, with a reason, for a short time, on record."""

from datetime import timedelta

from controlplane.access.actor import Action, Actor, authorize
from controlplane.access.audit import Audit
from controlplane.access.counting import Counting
from controlplane.access.queries import approvals as queries
from controlplane.access.rule import require_words
from controlplane.access.values import Event, GlassRow
from controlplane.errors import ConflictError, Fault, ForbiddenError, InvalidInputError, NotFoundError
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.kit.notify import Notify

USUAL = timedelta(hours=1)
LONGEST = timedelta(hours=8)


class BreakGlass:
    def __init__(self, database: Database, clock: Clock, audit: Audit, counting: Counting, notify: Notify) -> None:
        self._counting = counting
        self._database = database
        self._clock = clock
        self._audit = audit
        self._notify = notify

    async def break_(self, actor: Actor, environment: str, reason: str, lasts: timedelta = USUAL) -> GlassRow:
        """From now on, for `lasts`, the actor commits here without approvals; everybody is told.

        Raises:
            ForbiddenError: the actor may not commit here anyhow, or is a machine.
            InvalidInputError: no reason, or for longer than LONGEST.
        """
        authorize(actor, Action.BREAK_GLASS, environment)
        if not actor.human:
            raise ForbiddenError("only people can break glass, not their service tokens")
        words = require_words(reason, "reason")
        if not timedelta(0) < lasts <= LONGEST:
            message = f"for at most {LONGEST.total_seconds() / 3600:.0f} hours"
            raise InvalidInputError(message, (Fault("invalid_value", message, "/lasts_s"),))
        now = self._clock.now()
        async with self._database.transaction() as connection:
            made = await queries.break_glass(
                connection, environment=environment, principal=actor.principal, actor=actor.name, reason=words,
                at=now, expires_at=now + lasts,
            )  # fmt: skip
            row = await queries.glass(connection, environment, made)
            assert row is not None
            fields = {
                "environment": environment, "actor": actor.name, "reason": words, "until": row.expires_at.isoformat(),
            }  # fmt: skip
            await self._notify("break_glass", fields, connection)
            await self._audit.record(
                connection, Event.BREAK_GLASS, actor, environment=environment, target=f"break-glass {made}",
                reason=words, detail={"lasts_s": int(lasts.total_seconds())},
            )  # fmt: skip
        return row

    async def list_broken(self, actor: Actor, environment: str, *, unreviewed: bool = True) -> list[GlassRow]:
        """What waits for a review, or everything; the newest first."""
        authorize(actor, Action.READ, environment)
        async with self._database.reading() as connection:
            return await queries.glasses(connection, environment, unreviewed=unreviewed)

    async def end(self, actor: Actor, environment: str, glass_id: int) -> GlassRow:
        """Before its time: by who broke it, or by who manages the environment."""
        row = await self._found(environment, glass_id)
        if row.principal != actor.principal:
            authorize(actor, Action.MANAGE_ENVIRONMENT, environment)
        async with self._database.transaction() as connection:
            if not await queries.end_glass(connection, glass_id, self._clock.now()):
                raise ConflictError("it has already ended")
            await self._audit.record(
                connection, Event.BREAK_GLASS_ENDED, actor, environment=environment, target=f"break-glass {glass_id}"
            )
        return await self._found(environment, glass_id)

    async def review(self, actor: Actor, environment: str, glass_id: int, review: str) -> GlassRow:
        """Somebody else has looked at what was done.

        Raises:
            ForbiddenError: for whoever did it, and for an account that they had a hand in.
        """
        authorize(actor, Action.APPROVE, environment)
        words, row = require_words(review, "review"), await self._found(environment, glass_id)
        if row.principal == actor.principal or not actor.human:
            raise ForbiddenError("another person must review what you did alone")
        async with self._database.transaction() as connection:
            if why := await self._counting.review(connection, actor.principal, row):
                raise ForbiddenError(f"your review would not count: {why}")
            if not await queries.sign_glass(connection, glass_id, actor.name, self._clock.now(), words):
                raise ConflictError("it was reviewed already")
            await self._audit.record(
                connection, Event.BREAK_GLASS_REVIEWED, actor, environment=environment,
                target=f"break-glass {glass_id}", reason=words,
            )  # fmt: skip
        return await self._found(environment, glass_id)

    async def _found(self, environment: str, glass_id: int) -> GlassRow:
        async with self._database.reading() as connection:
            row = await queries.glass(connection, environment, glass_id)
        if row is None:
            raise NotFoundError(f"there is no broken glass {glass_id} in {environment}")
        return row
