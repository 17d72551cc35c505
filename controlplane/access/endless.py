"""Tokens of before every token had an end: people hear of them until there are none."""

import asyncio

from controlplane.access.queries import credentials
from controlplane.errors import UnavailableError
from controlplane.kit.background import beat, words
from controlplane.kit.database import Database
from controlplane.kit.notify import Notify

_AGAIN_S = 24 * 3600.0
_RETRY_S = 60.0


class EndlessTokens:
    def __init__(self, database: Database, notify: Notify) -> None:
        self._database = database
        self._notify = notify

    async def run(self) -> None:
        """Tells once a day, until cancelled."""
        while True:
            beat("tokens")
            wait_s, trouble = _AGAIN_S, ""
            try:
                await self.tell()
            except UnavailableError as error:
                wait_s, trouble = _RETRY_S, words(error)
            beat("tokens", wait_s, trouble)
            await asyncio.sleep(wait_s)

    async def tell(self) -> int:
        """How many live tokens have no end."""
        async with self._database.reading() as connection:
            count = await credentials.endless_tokens(connection)
        if count:
            await self._notify("tokens_without_expiry", {"tokens": str(count)})
        return count
