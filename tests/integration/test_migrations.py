import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from anyio import create_task_group
from sqlalchemy import Connection

from controlplane.configuration.store import tables
from controlplane.configuration.store.migrate import SchemaError, check_schema, migrate
from controlplane.kit.database import Database

pytestmark = pytest.mark.anyio


async def test_replicas_that_migrate_at_once_take_turns(empty_database: str) -> None:
    replicas = [Database(empty_database) for _ in range(3)]
    versions: list[str] = []

    async def run(database: Database) -> None:
        versions.append(await migrate(database))

    async with create_task_group() as group:
        for database in replicas:
            group.start_soon(run, database)
    assert len(set(versions)) == 1
    await check_schema(replicas[0])
    for database in replicas:
        await database.close()


async def test_a_database_that_is_behind_or_ahead_is_refused(empty_database: str) -> None:
    database = Database(empty_database)
    with pytest.raises(SchemaError, match="brownout migrate"):
        await check_schema(database)
    await migrate(database)
    connection = await asyncpg.connect(empty_database)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    for refused in (check_schema(database), migrate(database)):
        with pytest.raises(SchemaError, match="newer version"):
            await refused
    await database.close()


async def test_the_tables_are_those_that_the_migrations_make(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        known = set(tables.metadata.tables)
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, _: kind != "table" or name in known, "compare_type": True},
        )
        # Indexes and constraints live in the migrations alone; columns and their types must agree.
        return [d for d in compare_metadata(context, tables.metadata) if "column" in str(d) or "modify" in str(d)]

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
