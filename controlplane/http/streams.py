"""Event streams outlive the request that opened them; the permission to watch must not outlive its holder's."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from controlplane.access.actor import Action, allows
from controlplane.errors import ForbiddenError, RateLimitedError, UnauthenticatedError, UnavailableError
from controlplane.http.guard import Connection, find_actor
from controlplane.services import Services

MAX_STREAMS = 100
"""Of one principal at one replica: many tabs, and many walls."""
RETRY_S = 10
CHECKED_EVERY_S = 1.0
"""How soon a stream notices that its credential was revoked, or a role taken."""
RECHECKED_EVERY_S = 300.0
"""The same for what ends by itself: an expiry, or a group that the identity provider took away."""


def while_allowed(
    connection: Connection, services: Services, environment: str, events: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """`events`, until whoever asked for them may no longer read `environment`.

    Raises:
        RateLimitedError: the same principal watches MAX_STREAMS already, behind a proxy that may hold any number.
    """
    watching, principal = services.gate.watching, connection.state["actor"].principal
    if watching[principal] >= MAX_STREAMS:
        raise RateLimitedError(f"you watch {MAX_STREAMS} streams already", RETRY_S)
    return _counted(_while_allowed(connection, services, environment, events), watching, principal)


async def _counted(events: AsyncIterator[bytes], watching: Counter[str], principal: str) -> AsyncIterator[bytes]:
    watching[principal] += 1
    try:
        async for event in events:
            yield event
    finally:
        watching[principal] -= 1
        if not watching[principal]:
            del watching[principal]
        await events.aclose()  # type: ignore[attr-defined]


async def _while_allowed(
    connection: Connection, services: Services, environment: str, events: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    upcoming = asyncio.ensure_future(anext(events))
    watcher = _Watcher(connection, services, environment)
    try:
        while True:
            await asyncio.wait({upcoming}, timeout=CHECKED_EVERY_S)
            if not await watcher.may_go_on():
                return
            if upcoming.done():
                try:
                    event = upcoming.result()
                except StopAsyncIteration:
                    return
                upcoming = asyncio.ensure_future(anext(events))
                yield event
    finally:
        upcoming.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await upcoming


class _Watcher:
    """Asks for its own credential only when somebody lost something, or after a long while: viewers may be thousands."""

    def __init__(self, connection: Connection, services: Services, environment: str) -> None:
        self._connection = connection
        self._services = services
        self._environment = environment
        self._seen = -1
        self._looks = 0
        """Still to be taken since something was withdrawn: the first may find what this replica remembers for 0.8 s."""
        self._asked_at = self._checked_at = asyncio.get_running_loop().time()

    async def may_go_on(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._asked_at < CHECKED_EVERY_S:
            return True
        self._asked_at = now
        try:
            last = await self._services.access.withdrawals.last()
            if last != self._seen:
                self._seen, self._looks = last, 2
            if not self._looks and now - self._checked_at < RECHECKED_EVERY_S:
                return True
            actor = await find_actor(self._connection, self._services)
            self._looks, self._checked_at = max(0, self._looks - 1), now
        except (UnauthenticatedError, ForbiddenError):
            return False
        except UnavailableError:
            return True  # nobody can be asked: a stream is no reason to blind those who watch an incident
        return actor is not None and allows(actor.grants, Action.READ, self._environment)
