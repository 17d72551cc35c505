"""One address for everything: the pools and LISTEN take the same parameters."""

import asyncio

import pytest
from sqlalchemy import text

from controlplane.kit.database import Database
from controlplane.publish.listen import listen

pytestmark = pytest.mark.anyio

PARAMETERS = "application_name=flags-of-ada&connect_timeout=9&channel_binding=prefer&options=-c%20search_path%3Dpublic"


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg"])
async def test_the_pool_and_the_listener_understand_the_same_address(database_url: str, scheme: str) -> None:
    url = f"{scheme}://{database_url.partition('://')[2]}?{PARAMETERS}"
    database, connected = Database(url, pool_size=1), asyncio.Event()
    listening = asyncio.create_task(listen(url, lambda _: None, connected.set))
    try:
        async with asyncio.timeout(20):
            await connected.wait()
        async with database.reading() as connection:
            names = await connection.execute(
                text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flags-of-ada'")
            )
            assert names.scalar_one() >= 2
    finally:
        listening.cancel()
        await asyncio.wait({listening})
        await database.close()
