"""The head state: one resource, a page of them, or all."""

from datetime import datetime
from typing import Unpack

from sqlalchemy import Select, func, select

from brownout.model.resources import ResourceRef
from controlplane.configuration.store.tables import change, reference, resource, revision
from controlplane.configuration.store.tables import environment as environments
from controlplane.configuration.store.values import Head, Resource, ResourcePage, ResourceQuery, State
from controlplane.errors import NotFoundError
from controlplane.kit.database import Database, ReadConnection

PAGE, MAX_PAGE = 100, 500


async def find_resource(database: Database, environment: str, ref: ResourceRef) -> Resource | None:
    query = _resources(environment).where(resource.c.kind == ref.kind, resource.c.key == ref.key)
    async with database.reading() as connection:
        row = (await connection.execute(query)).one_or_none()
    return Resource(*row) if row else None


async def list_resources(
    database: Database, environment: str, kind: str, **asked: Unpack[ResourceQuery]
) -> ResourcePage:
    """A page in order of keys."""
    limit = max(1, min(asked.get("limit", PAGE), MAX_PAGE))
    query = _resources(environment).where(resource.c.kind == kind, resource.c.key > asked.get("after", ""))
    for word in asked.get("search", "").lower().split()[:10]:
        query = query.where(resource.c.search.contains(word, autoescape=True))
    if tags := asked.get("tags"):
        query = query.where(resource.c.tags.contains(list(tags)))
    if wanted := asked.get("type"):
        query = query.where(resource.c.type == wanted)
    async with database.reading() as connection:
        rows = (await connection.execute(query.order_by(resource.c.key).limit(limit + 1))).all()
    items = tuple(Resource(*row) for row in rows[:limit])
    return ResourcePage(items, items[-1].key if len(rows) > limit else None)


async def list_keys(database: Database, environment: str, kind: str) -> tuple[str, ...]:
    """Every key of a kind, in order."""
    query = select(resource.c.key).where(resource.c.environment == environment, resource.c.kind == kind)
    async with database.reading() as connection:
        return tuple((await connection.execute(query.order_by(resource.c.key))).scalars())


async def count_of_kind(connection: ReadConnection, environment: str, kind: str) -> int:
    """How many there are; in the transaction of a commit, with what that wrote."""
    query = select(func.count()).where(resource.c.environment == environment, resource.c.kind == kind)
    return (await connection.execute(query)).scalar_one()


async def revisions_that_put(
    connection: ReadConnection, environment: str, ref: ResourceRef, spec: bytes, before: int
) -> tuple[int, ...]:
    """The revisions earlier than `before` that made the resource exactly this."""
    query = select(change.c.revision).where(
        change.c.environment == environment,
        change.c.kind == ref.kind,
        change.c.key == ref.key,
        change.c.after == spec,
        change.c.revision < before,
    )
    return tuple((await connection.execute(query)).scalars())


async def count_resources(database: Database, environment: str) -> dict[str, int]:
    """How many there are of each kind that has any."""
    query = (
        select(resource.c.kind, func.count().label("amount"))
        .where(resource.c.environment == environment)
        .group_by(resource.c.kind)
    )
    async with database.reading() as connection:
        return {row.kind: row.amount for row in (await connection.execute(query)).all()}


async def list_dependants(database: Database, environment: str, ref: ResourceRef) -> tuple[ResourceRef, ...]:
    """Whoever names the resource directly, in order."""
    columns = reference.c
    query = (
        select(columns.from_kind, columns.from_key)
        .where(columns.environment == environment, columns.to_kind == ref.kind, columns.to_key == ref.key)
        .order_by(columns.from_kind, columns.from_key)
    )
    async with database.reading() as connection:
        return tuple(ResourceRef(*row) for row in (await connection.execute(query)).all())


async def head_state(database: Database, environment: str) -> State:
    """Raises NotFoundError when there is no such environment."""
    query = (
        select(
            environments.c.epoch, environments.c.revision, environments.c.chain,
            resource.c.kind, resource.c.key, resource.c.spec,
        )
        .select_from(environments.outerjoin(resource, resource.c.environment == environments.c.key))
        .where(environments.c.key == environment)
    )  # fmt: skip
    async with database.reading() as connection:
        rows = (await connection.execute(query)).all()
    if not rows:
        raise NotFoundError(f"there is no environment {environment}")
    first = rows[0]
    resources = {ResourceRef(kind, key): spec for _, _, _, kind, key, spec in rows if kind is not None}
    return State(Head(environment, first.epoch, first.revision, first.chain), resources)


def _resources(environment: str) -> Select[str, str, bytes, int, datetime, str]:
    """Columns as in values.Resource."""
    changed = (revision.c.environment == resource.c.environment) & (revision.c.revision == resource.c.revision)
    return (
        select(
            resource.c.kind, resource.c.key, resource.c.spec, resource.c.revision,
            revision.c.created_at, revision.c.author,
        )
        .select_from(resource.join(revision, changed))
        .where(resource.c.environment == environment)
    )  # fmt: skip
