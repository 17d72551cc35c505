"""Request → Actor, for handlers: the guard has found out already."""

from typing import Any

from litestar import Request

from controlplane.access.actor import Actor
from controlplane.errors import UnauthenticatedError


async def provide_actor(request: Request[Any, Any, Any]) -> Actor:
    """Raises UnauthenticatedError on a public route that asks for somebody."""
    actor = request.state.get("actor")
    if not isinstance(actor, Actor):
        raise UnauthenticatedError("sign in first")
    return actor
