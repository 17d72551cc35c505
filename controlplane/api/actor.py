"""Request → Actor, in one place."""

import hmac
from typing import Any

from litestar import Request

from controlplane.access.actor import ANY_ENVIRONMENT, Actor, Role
from controlplane.errors import UnauthenticatedError
from controlplane.services import Services


async def provide_actor(request: Request[Any, Any, Any], services: Services) -> Actor:
    """Who sends this request.

    Raises:
        UnauthenticatedError: no bearer token, or one that we do not know.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    expected = services.settings.admin_token.reveal()
    if scheme.lower() != "bearer" or not expected or not hmac.compare_digest(token.encode(), expected.encode()):
        raise UnauthenticatedError("send a token: Authorization: Bearer …")
    address = request.client.host if request.client else ""
    return Actor("token", "admin", {ANY_ENVIRONMENT: frozenset({Role.ADMIN})}, address)
