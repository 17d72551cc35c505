"""The past: an environment as it was at any revision, and what lies between two."""

from sqlalchemy import and_, select
from sqlalchemy.dialects.postgresql import distinct_on

from brownout.model.resources import ResourceRef
from controlplane.configuration.store.fields import field_changes
from controlplane.configuration.store.tables import change, environment, revision
from controlplane.configuration.store.values import Change, Diff, Head, ResourceDiff, State
from controlplane.errors import NotFoundError
from controlplane.kit.database import Database, ReadConnection

MAX_REVISION = 2**63 - 1


async def state_at(database: Database, key: str, number: int) -> State:
    """Every resource as its last change at or before `number` left it. Raises NotFoundError.

    Cost: one index scan of the changes up to there; no checkpoints to keep true (ADR 0022).
    """
    last = (
        select(change.c.kind, change.c.key, change.c.after)
        .where(change.c.environment == key, change.c.revision <= number)
        .ext(distinct_on(change.c.kind, change.c.key))
        .order_by(change.c.kind, change.c.key, change.c.revision.desc())
    )
    async with database.snapshot() as connection:
        head = await head_at(connection, key, number)
        rows = (await connection.execute(last)).all()
    return State(head, {ResourceRef(row.kind, row.key): row.after for row in rows if row.after is not None})


async def diff(database: Database, key: str, start: int, end: int) -> Diff:
    """What leads from revision `start` to `end`, which may lie before it.

    Raises NotFoundError when either never was.
    """
    async with database.snapshot() as connection:
        for number in (start, end):
            await head_at(connection, key, number)
        changes = await changes_between(connection, key, min(start, end), max(start, end))
    if end < start:
        changes = [Change(c.kind, c.key, c.after, c.before) for c in changes]
    return Diff(
        key, start, end, tuple(ResourceDiff(c.kind, c.key, c.before, c.after, field_changes(c)) for c in changes)
    )


async def changes_since(database: Database, key: str, after: int) -> tuple[Change, ...]:
    """The net changes from `after` to the head."""
    async with database.reading() as connection:
        return tuple(await changes_between(connection, key, after, MAX_REVISION))


async def changes_between(connection: ReadConnection, key: str, after: int, upto: int) -> list[Change]:
    """The net change of each resource touched in (after, upto], in order; those that came back to what they were
    are left out."""
    inside = and_(change.c.environment == key, change.c.revision > after, change.c.revision <= upto)
    one_each = select(change.c.kind, change.c.key).where(inside).ext(distinct_on(change.c.kind, change.c.key))
    first = one_each.add_columns(change.c.before).order_by(change.c.kind, change.c.key, change.c.revision).subquery()
    last = (
        one_each.add_columns(change.c.after).order_by(change.c.kind, change.c.key, change.c.revision.desc()).subquery()
    )
    query = (
        select(first.c.kind, first.c.key, first.c.before, last.c.after)
        .join(last, and_(first.c.kind == last.c.kind, first.c.key == last.c.key))
        .where(first.c.before.is_distinct_from(last.c.after))
        .order_by(first.c.kind, first.c.key)
    )
    return [Change(*row) for row in (await connection.execute(query)).all()]


async def head_at(connection: ReadConnection, key: str, number: int) -> Head:
    """The head as it was at `number`; 0 is before the first commit. Raises NotFoundError."""
    if number == 0:
        query = select(environment.c.key).where(environment.c.key == key)
        if (await connection.execute(query)).first() is not None:
            return Head(key, 0, 0, "")
        raise NotFoundError(f"there is no environment {key}")
    columns = select(revision.c.epoch, revision.c.chain)
    row = (
        await connection.execute(columns.where(revision.c.environment == key, revision.c.revision == number))
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"{key} has no revision {number}")
    return Head(key, row.epoch, number, row.chain)
