"""Where each role may be used from."""

from controlplane.access.queries.base import fetch, run
from controlplane.access.values import AddressRow
from controlplane.kit.database import ReadConnection, WriteConnection


async def rules(connection: ReadConnection) -> list[AddressRow]:
    sql = "SELECT environment, role, networks, changed_by, changed_at FROM address_rule ORDER BY environment, role"
    return await fetch(connection, AddressRow, sql)


async def environments(connection: ReadConnection) -> list[str]:
    return [row["key"] for row in await fetch(connection, dict[str, str], "SELECT key FROM environment")]


async def put(connection: WriteConnection, row: AddressRow) -> None:
    sql = """
    INSERT INTO address_rule (environment, role, networks, changed_by, changed_at)
    VALUES (:environment, :role, :networks, :changed_by, :changed_at)
    ON CONFLICT (environment, role) DO UPDATE
    SET networks = excluded.networks, changed_by = excluded.changed_by, changed_at = excluded.changed_at
    """
    await run(
        connection, sql, environment=row.environment, role=row.role, networks=list(row.networks),
        changed_by=row.changed_by, changed_at=row.changed_at,
    )  # fmt: skip


async def delete(connection: WriteConnection, environment: str, role: str) -> bool:
    sql = "DELETE FROM address_rule WHERE environment = :environment AND role = :role"
    return await run(connection, sql, environment=environment, role=role) == 1


async def clear(connection: WriteConnection) -> int:
    return await run(connection, "DELETE FROM address_rule")
