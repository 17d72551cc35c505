"""Under which path of its host Brownout stands: nothing, or `/brownout` behind a proxy that serves more (ADR 0112).

Routes know nothing of it. It is taken off what arrives, and put before every address that we send to a browser.
"""

from contextvars import ContextVar
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

_root: ContextVar[str] = ContextVar("root", default="")


def root_of(public_url: str) -> str:
    """`/brownout` of `https://ops.example/brownout/`; empty for a host of our own."""
    return urlsplit(public_url).path.rstrip("/")


def at(path: str) -> str:
    """One of our paths, which begins with a slash, as a browser has to ask for it."""
    return _root.get() + path


class UnderRoot:
    """The application for a proxy that passes the root path on, and for one that strips it."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and f"{scope['path']}/".startswith(f"{self._root}/"):
            path, raw = scope["path"][len(self._root) :], scope["raw_path"][len(self._root) :]
            scope["path"], scope["raw_path"] = path or "/", raw or b"/"
        before = _root.set(self._root)
        try:
            await self._app(scope, receive, send)
        finally:
            _root.reset(before)
