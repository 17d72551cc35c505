"""Whether anybody lost a right lately: a question that every open event stream asks, and one query a second answers."""

import asyncio

from controlplane.access.audit import Audit
from controlplane.kit.clock import Monotonic, monotonic

ASKED_EVERY_S = 1.0
"""How soon a replica hears that a credential was revoked, or a role taken."""


class Withdrawals:
    """Many wait, one asks."""

    def __init__(self, audit: Audit, monotonic: Monotonic = monotonic) -> None:
        self._audit = audit
        self._monotonic = monotonic
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._last = 0

    async def last(self) -> int:
        """Grows with every withdrawal; at most a second old. Raises UnavailableError."""
        async with self._asking:
            now = self._monotonic()
            if now - self._asked_at >= ASKED_EVERY_S:
                self._last = await self._audit.last_withdrawal()
                self._asked_at = now
            return self._last
