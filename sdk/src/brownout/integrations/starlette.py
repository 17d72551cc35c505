"""Starlette and FastAPI: `app.add_middleware(BrownoutMiddleware, attributes=lambda request: {...})`."""

from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from brownout import context
from brownout.context import Attributes
from brownout.integrations._attributes import attributes_of


class BrownoutMiddleware:
    """Sets the context of each HTTP request and WebSocket to what `attributes` returns for it."""

    def __init__(self, app: ASGIApp, attributes: Callable[[HTTPConnection], Attributes]) -> None:
        self._app = app
        self._attributes = attributes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        with context.scope(attributes_of(HTTPConnection(scope), self._attributes)):
            await self._app(scope, receive, send)
