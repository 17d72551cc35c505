"""What a replica remembers so that it can check operator passes without a database."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from controlplane.access.queries.base import fetch
from controlplane.kit.database import ReadConnection


class Granted(msgspec.Struct, frozen=True):
    """One role of a person."""

    holder: str
    environment: str
    role: str


class _Token(msgspec.Struct, frozen=True):
    id: str
    grants: object


class _Ended(msgspec.Struct, frozen=True):
    id: str


async def granted(connection: ReadConnection, roles: Sequence[str], confirmed_since: datetime) -> list[Granted]:
    """The people who hold one of `roles` somewhere and are not disabled. Other roles, also those of a newer version, are
    not read here."""
    sql = """
    SELECT g.person AS holder, g.environment, g.role FROM role_grant g JOIN person p ON p.id = g.person
    LEFT JOIN sso_identity s ON s.person = g.person
    WHERE p.disabled_at IS NULL AND g.role = ANY(:roles) AND (g.source = 'local' OR s.confirmed_at > :since)
    """
    return await fetch(connection, Granted, sql, roles=list(roles), since=confirmed_since)


async def machine_tokens(connection: ReadConnection, now: datetime) -> dict[str, object]:
    """The grants, as they are stored, of the live tokens that no person owns, by id."""
    sql = """
    SELECT id, grants FROM api_token
    WHERE owner IS NULL AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
    """
    return {row.id: row.grants for row in await fetch(connection, _Token, sql, now=now)}


async def ended(connection: ReadConnection, since: datetime, now: datetime) -> frozenset[str]:
    """The sessions and tokens that were ended since, and the tokens that expired."""
    sql = """
    SELECT id FROM session WHERE ended_at > :since
    UNION ALL SELECT id FROM api_token WHERE revoked_at > :since
    UNION ALL SELECT id FROM api_token WHERE expires_at > :since AND expires_at <= :now
    """
    return frozenset(row.id for row in await fetch(connection, _Ended, sql, since=since, now=now))
