"""Environments: made once, listed, headed."""

import re
from collections.abc import Awaitable, Callable

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from controlplane.configuration.store.commit import now_ms
from controlplane.configuration.store.signing import SigningKeys
from controlplane.configuration.store.tables import environment as table
from controlplane.configuration.store.values import Environment, Head
from controlplane.errors import ConflictError, Fault, InvalidInputError, NotFoundError
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, WriteConnection

KEY = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
MAX_NAME = 100
FIRST_EPOCH = 1
PRODUCTION = "production"
"""An environment of this key counts as production until somebody says otherwise."""


def check_environment(key: str, name: str) -> None:
    """Raises InvalidInputError unless these may name an environment."""
    faults: list[Fault] = []
    if not KEY.fullmatch(key):
        faults.append(Fault("invalid_key", "an environment's key is 1 to 40 of a-z, 0-9 and '-'", "/key"))
    if not name.strip() or len(name) > MAX_NAME or "\0" in name:
        faults.append(Fault("invalid", f"an environment's name is 1 to {MAX_NAME} characters", "/name"))
    if faults:
        raise InvalidInputError(faults[0].message, tuple(faults))


async def create_environment(database: Database, clock: Clock, keys: SigningKeys, key: str, name: str) -> Environment:
    """An empty environment at revision 0, with a signing key of its own. Raises ConflictError when there is one."""
    check_environment(key, name)
    at = now_ms(clock)
    try:
        async with database.transaction() as connection:
            signing = await keys.create(connection, key, at, by=None)
            await connection.execute(
                insert(table).values(
                    key=key, name=name, epoch=FIRST_EPOCH, revision=0, chain="", signing_kid=signing.kid, created_at=at,
                    production=key == PRODUCTION,
                )
            )  # fmt: skip
    except IntegrityError as error:
        raise ConflictError(f"there is an environment {key} already") from error
    return Environment(key, name, FIRST_EPOCH, 0, at, key == PRODUCTION)


async def mark_production(
    database: Database, key: str, production: bool, witness: Callable[[WriteConnection], Awaitable[None]]
) -> None:
    """What `witness` writes belongs to it. Raises NotFoundError when there is no such environment."""
    query = update(table).where(table.c.key == key).values(production=production).returning(table.c.key)
    async with database.transaction() as connection:
        if (await connection.execute(query)).one_or_none() is None:
            raise NotFoundError(f"there is no environment {key}")
        await witness(connection)


async def lock_environment(connection: WriteConnection, key: str) -> None:
    """Keeps commits out until the transaction ends. Raises NotFoundError when there is no such environment."""
    query = select(table.c.key).where(table.c.key == key).with_for_update()
    if (await connection.execute(query)).one_or_none() is None:
        raise NotFoundError(f"there is no environment {key}")


async def list_environments(database: Database) -> tuple[Environment, ...]:
    columns = table.c
    query = select(columns.key, columns.name, columns.epoch, columns.revision, columns.created_at, columns.production)
    async with database.reading() as connection:
        rows = (await connection.execute(query.order_by(columns.created_at, columns.key))).all()
    return tuple(Environment(*row) for row in rows)


async def head(database: Database, key: str) -> Head:
    """Raises NotFoundError when there is no such environment."""
    query = select(table.c.key, table.c.epoch, table.c.revision, table.c.chain).where(table.c.key == key)
    async with database.reading() as connection:
        row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no environment {key}")
    return Head(*row)
