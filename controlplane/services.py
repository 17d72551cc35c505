"""What the control plane is made of. `app.open_services` builds it; edges only read it."""

import asyncio
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from controlplane.clock import Clock
from controlplane.settings import Settings


@dataclass(frozen=True)
class Services:
    """One process's capabilities, wired. Routes get it by the dependency `services`."""

    settings: Settings
    clock: Clock
    engine: AsyncEngine

    async def ready(self, timeout_s: float = 2) -> bool:
        """Whether Postgres answers in time."""
        try:
            async with asyncio.timeout(timeout_s), self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (OSError, SQLAlchemyError, TimeoutError):
            return False
        return True
