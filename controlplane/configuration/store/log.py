"""Reading the log: envelopes for the publisher, commits for people."""

from collections.abc import Collection
from typing import Any, Unpack

from sqlalchemy import Row, ScalarSelect, Select, exists, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from brownout.model.resources import ResourceRef
from controlplane.configuration.store.tables import change, revision
from controlplane.configuration.store.values import Change, Commit, CommitQuery, LoggedCommit, StoredEnvelope
from controlplane.errors import NotFoundError
from controlplane.kit.database import Database

PAGE, MAX_PAGE = 50, 500
REFS_SHOWN = 10


async def envelopes(database: Database, environment: str, after: int, limit: int) -> tuple[StoredEnvelope, ...]:
    """Up to `limit` revisions above `after`, in order."""
    columns = revision.c
    query = (
        select(
            columns.revision, columns.epoch, columns.previous_chain, columns.chain,
            columns.payload, columns.signature, columns.reset,
        )
        .where(columns.environment == environment, columns.revision > after)
        .order_by(columns.revision)
        .limit(limit)
    )  # fmt: skip
    async with database.reading() as connection:
        return tuple(StoredEnvelope(*row) for row in (await connection.execute(query)).all())


async def list_commits(database: Database, environment: str, **asked: Unpack[CommitQuery]) -> tuple[LoggedCommit, ...]:
    """The newest first. The next page's `before` is the last one's revision."""
    columns = revision.c
    shown = _first_refs().label("refs")
    query = select(
        columns.environment, columns.revision, columns.epoch, columns.author, columns.message,
        columns.created_at, columns.effective, columns.changes, shown,
    )  # fmt: skip
    filtered = _filtered(query.where(columns.environment == environment), asked)
    page = filtered.order_by(columns.revision.desc()).limit(max(1, min(asked.get("limit", PAGE), MAX_PAGE)))
    async with database.reading() as connection:
        rows = (await connection.execute(page)).all()
    return tuple(
        LoggedCommit(
            row.environment, row.revision, row.epoch, row.author, row.message, row.created_at,
            tuple(row.effective), row.changes, tuple(ResourceRef(*ref) for ref in row.refs or ()),
        )
        for row in rows
    )  # fmt: skip


async def get_commit(database: Database, environment: str, number: int, *, replayed: bool = False) -> Commit:
    """A commit with every resource it touched, whole. Raises NotFoundError."""
    at = (revision.c.environment == environment) & (revision.c.revision == number)
    inside = (change.c.environment == environment) & (change.c.revision == number)
    async with database.snapshot() as connection:
        row = (await connection.execute(select(revision).where(at))).one_or_none()
        if row is None:
            raise NotFoundError(f"{environment} has no revision {number}")
        rows = await connection.execute(select(change).where(inside).order_by(change.c.kind, change.c.key))
        return _commit(row, tuple(Change(r.kind, r.key, r.before, r.after) for r in rows), replayed)


async def get_commits(database: Database, environment: str, numbers: Collection[int], kind: str) -> tuple[Commit, ...]:
    """These commits, the newest first, each with what it changed of `kind`; two queries, however many they are."""
    at = (revision.c.environment == environment) & revision.c.revision.in_(numbers)
    inside = (change.c.environment == environment) & change.c.revision.in_(numbers) & (change.c.kind == kind)
    async with database.snapshot() as connection:
        rows = (await connection.execute(select(revision).where(at).order_by(revision.c.revision.desc()))).all()
        changes: dict[int, list[Change]] = {}
        for each in await connection.execute(select(change).where(inside).order_by(change.c.key)):
            changes.setdefault(each.revision, []).append(Change(each.kind, each.key, each.before, each.after))
    return tuple(_commit(row, tuple(changes.get(row.revision, ())), replayed=False) for row in rows)


def _commit(row: Row[tuple[object, ...]], changes: tuple[Change, ...], replayed: bool) -> Commit:
    return Commit(
        row.environment, row.revision, row.epoch, row.chain, row.author, row.message, row.created_at,
        tuple(row.effective), changes, replayed=replayed,
    )  # fmt: skip


def _first_refs() -> ScalarSelect[list[tuple[str, str]]]:
    """The commit's first REFS_SHOWN resources as an array of [kind, key]."""
    first = (
        select(change.c.kind, change.c.key)
        .where(change.c.environment == revision.c.environment, change.c.revision == revision.c.revision)
        .order_by(change.c.kind, change.c.key)
        .limit(REFS_SHOWN)
        .correlate(revision)
        .subquery()
    )
    pair = func.json_build_array(first.c.kind, first.c.key)
    return select(func.json_agg(aggregate_order_by(pair, first.c.kind, first.c.key))).scalar_subquery()


def _filtered(query: Select[*tuple[Any, ...]], asked: CommitQuery) -> Select[*tuple[Any, ...]]:
    columns = revision.c
    if (before := asked.get("before")) is not None:
        query = query.where(columns.revision < before)
    if (after := asked.get("after")) is not None:
        query = query.where(columns.revision > after)
    if (author := asked.get("author")) is not None:
        query = query.where(columns.author == author)
    if (since := asked.get("since")) is not None:
        query = query.where(columns.created_at >= since)
    if (until := asked.get("until")) is not None:
        query = query.where(columns.created_at < until)
    kind, key = asked.get("kind"), asked.get("key")
    if kind is not None or key is not None:
        touched = (change.c.environment == columns.environment) & (change.c.revision == columns.revision)
        if kind is not None:
            touched &= change.c.kind == kind
        if key is not None:
            touched &= change.c.key == key
        query = query.where(exists().where(touched))
    return query
