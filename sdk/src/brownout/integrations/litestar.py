"""Litestar: `Litestar(..., middleware=[BrownoutMiddleware(lambda connection: {...})])`."""

from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from brownout import context
from brownout.context import Attributes
from brownout.integrations._attributes import attributes_of

Connection = ASGIConnection[Any, Any, Any, Any]


class BrownoutMiddleware(ASGIMiddleware):
    """Sets the context of each HTTP request and WebSocket to what `attributes` returns for it."""

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    def __init__(self, attributes: Callable[[Connection], Attributes]) -> None:
        self._attributes = attributes

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        with context.scope(attributes_of(ASGIConnection(scope), self._attributes)):
            await next_app(scope, receive, send)
