"""The next signing key of an environment, between its announcement and its first signature."""

from datetime import datetime

from controlplane.access.queries.base import fetch, fetch_value, run
from controlplane.kit.database import ReadConnection, WriteConnection


async def announced(connection: ReadConnection, environment: str) -> str | None:
    found = await fetch_value(
        connection, "SELECT kid FROM signing_rotation WHERE environment = :environment", environment=environment
    )
    return None if found is None else str(found)


async def announce(connection: WriteConnection, environment: str, kid: str, switch_at: datetime) -> None:
    sql = "INSERT INTO signing_rotation (environment, kid, switch_at) VALUES (:environment, :kid, :switch_at)"
    await run(connection, sql, environment=environment, kid=kid, switch_at=switch_at)


async def due(connection: ReadConnection, now: datetime) -> list[tuple[str, str]]:
    """(environment, kid)"""
    sql = "SELECT environment, kid FROM signing_rotation WHERE switch_at <= :now"
    return [(row["environment"], row["kid"]) for row in await fetch(connection, dict[str, str], sql, now=now)]


async def take(connection: WriteConnection, environment: str, kid: str) -> bool:
    """Ends the announcement; False when another replica was faster."""
    sql = "DELETE FROM signing_rotation WHERE environment = :environment AND kid = :kid"
    return bool(await run(connection, sql, environment=environment, kid=kid))
