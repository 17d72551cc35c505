"""What publishing asks of Postgres besides the store: one lock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text

from controlplane.kit.database import Database

_MEND = 0x626F_7075
"""Our half of the advisory lock's name; the other half is the environment."""


@asynccontextmanager
async def mending(database: Database, environment: str) -> AsyncIterator[bool]:
    """False when another replica is mending this environment's streams. The lock ends with the transaction, so also
    with the process."""
    async with database.transaction() as connection:
        held = await connection.execute(
            text("SELECT pg_try_advisory_xact_lock(:mend, hashtext(:environment))"),
            {"mend": _MEND, "environment": environment},
        )
        yield bool(held.scalar_one())
