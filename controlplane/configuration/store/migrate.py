"""Bringing a database to this version's schema, and refusing one that is not at it."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from controlplane.errors import BrownoutError
from controlplane.kit.database import Database

MIGRATION_LOCK = 0x62726F776E
"""An advisory lock: replicas that start together take turns."""


class SchemaError(BrownoutError):
    """The database was written by a newer version, or waits for `brownout migrate`."""

    code = "schema"


def migrations_folder() -> Path:
    """Inside the wheel `controlplane/_migrations`; in a clone, `migrations` beside the package."""
    package = Path(str(files("controlplane")))
    inside = package / "_migrations"
    return inside if inside.exists() else package.parent / "migrations"


async def migrate(database: Database) -> str:
    """Runs what is missing, in one transaction; returns the schema's version. Replicas may call it at once."""
    async with database.transaction() as connection:
        await connection.execute(text("SET LOCAL statement_timeout = '10min'"))
        await connection.execute(text("SET LOCAL lock_timeout = '5min'"))
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        # From here a migration that cannot get its table lock gives up rather than queue everybody behind it.
        await connection.execute(text("SET LOCAL lock_timeout = '4s'"))
        return await connection.sql.run_sync(_upgrade)


async def schema_fault(database: Database) -> str:
    """What is wrong with the database's schema, or empty."""
    try:
        await check_schema(database)
    except SchemaError as error:
        return error.message
    return ""


async def check_schema(database: Database) -> None:
    """Raises SchemaError unless the database is exactly at this version's schema."""
    async with database.reading() as connection:
        found = await connection.sql.run_sync(_current)
    _refuse_newer(found)
    if found != _head():
        raise SchemaError("the database is older than this program: run `brownout migrate`")


@cache
def _head() -> str | None:
    return _scripts().get_current_head()


@cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in _scripts().walk_revisions())


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection) -> str:
    _refuse_newer(_current(connection))
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return _current(connection) or ""


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(version: str | None) -> None:
    if version is not None and version not in _known():
        raise SchemaError(f"the database is at schema {version}, which a newer version of Brownout wrote")
