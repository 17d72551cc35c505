"""Event streams outlive the request that opened them; the permission to watch must not outlive its holder's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from controlplane.access.actor import Action, allows
from controlplane.api.guard import Connection, find_actor
from controlplane.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from controlplane.services import Services

RECHECK_S = 1.0
"""How soon a stream notices that its credential was revoked, or a role taken."""


async def while_allowed(
    connection: Connection, services: Services, environment: str, events: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """`events`, until whoever asked for them may no longer read `environment`."""
    upcoming = asyncio.ensure_future(anext(events))
    loop = asyncio.get_running_loop()
    checked = loop.time()
    try:
        while True:
            await asyncio.wait({upcoming}, timeout=RECHECK_S)
            if loop.time() - checked >= RECHECK_S:
                if not await _may_still_read(connection, services, environment):
                    return
                checked = loop.time()
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


async def _may_still_read(connection: Connection, services: Services, environment: str) -> bool:
    try:
        actor = await find_actor(connection, services)
    except (UnauthenticatedError, ForbiddenError):
        return False
    except UnavailableError:
        return True  # nobody can be asked: a stream is no reason to blind those who watch an incident
    return actor is not None and allows(actor.grants, Action.READ, environment)
