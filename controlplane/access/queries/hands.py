"""Who had a hand in whose account: what was issued or changed, by whom, in one order with proposals and broken glass."""

from datetime import datetime
from typing import Literal

import msgspec

from controlplane.access.actor import Actor
from controlplane.access.queries.base import fetch, run
from controlplane.kit.database import ReadConnection, WriteConnection

Kind = Literal["account", "link", "password", "factor", "identity", "enabled", "role"]
"""The account itself, a one-time link, a password set by one, a second factor, an identity of single sign-on, being let
in again, a role that may approve."""


class AccountChange(msgspec.Struct, frozen=True):
    """`environment` and `role` are empty for what concerns the whole account. `ended`: the place in the common
    order at which it ceased to be in force."""

    id: int
    person: str
    kind: Kind
    environment: str
    role: str
    principal: str
    actor: str
    at: datetime
    ended: int | None


class Guarded(msgspec.Struct, frozen=True):
    """An environment under the two-person rule, and how many proposals wait there."""

    environment: str
    waiting: int


async def record(
    connection: WriteConnection,
    person: str,
    kind: Kind,
    by: Actor,
    *,
    at: datetime,
    environment: str = "",
    role: str = "",
) -> None:
    """Call it in the transaction that changed how `person` signs in, or gave them a role that may approve."""
    sql = """
    INSERT INTO account_change (person, kind, environment, role, principal, actor, at)
    VALUES (:person, :kind, :environment, :role, :principal, :actor, :at)
    """
    await run(
        connection, sql,
        person=person, kind=kind, environment=environment, role=role, principal=by.principal, actor=by.name, at=at,
    )  # fmt: skip


async def link_used(connection: WriteConnection, person: str) -> None:
    """The newest link was followed: what was issued for signing in before it opens nothing any more."""
    sql = """
    UPDATE account_change SET ended = nextval('access_order')
    WHERE person = :person AND ended IS NULL AND kind IN ('account', 'link', 'password', 'enabled')
      AND id < (SELECT max(id) FROM account_change WHERE person = :person AND kind IN ('account', 'link'))
    """
    await run(connection, sql, person=person)


async def factors_forgotten(connection: WriteConnection, person: str, by: Actor, at: datetime) -> None:
    """What anybody did to their second factors before is void; now this hand has."""
    sql = """
    UPDATE account_change SET ended = nextval('access_order') WHERE person = :person AND ended IS NULL AND kind = 'factor'
    """
    await run(connection, sql, person=person)
    await record(connection, person, "factor", by, at=at)


async def role_taken(connection: WriteConnection, person: str, environment: str, role: str) -> None:
    sql = """
    UPDATE account_change SET ended = nextval('access_order')
    WHERE person = :person AND kind = 'role' AND environment = :environment AND role = :role AND ended IS NULL
    """
    await run(connection, sql, person=person, environment=environment, role=role)


async def changes(connection: ReadConnection, since: datetime) -> list[AccountChange]:
    """What is in force, and everything later than `since`; oldest first."""
    sql = """
    SELECT id, person, kind, environment, role, principal, actor, at, ended FROM account_change
    WHERE ended IS NULL OR at > :since ORDER BY id
    """
    return await fetch(connection, AccountChange, sql, since=since)


async def guarded(connection: ReadConnection) -> list[Guarded]:
    sql = """
    SELECT r.environment, count(p.id) AS waiting
    FROM environment_rule r LEFT JOIN proposal p ON p.environment = r.environment AND p.state = 'open'
    WHERE r.requires_approvals > 0 GROUP BY r.environment ORDER BY r.environment
    """
    return await fetch(connection, Guarded, sql)
