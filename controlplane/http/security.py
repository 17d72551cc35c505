"""Headers on every answer: a browser may load our own files, talk to us, and nothing else."""

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_HSTS = "max-age=31536000; includeSubDomains"


class SecurityHeaders:
    """A `before_send` hook: also what no route answers (404, 405) goes out with them, which no middleware sees.

    What a handler has set itself stays. `https`: people reach us through TLS, so never let them without.
    """

    def __init__(self, *, https: bool) -> None:
        # Nothing of ours belongs in a cache unless its handler says so (static files do).
        hsts = {"Strict-Transport-Security": _HSTS} if https else {}
        self._headers = {**_HEADERS, **hsts, "Cache-Control": "no-store"}

    async def __call__(self, message: Message, scope: Scope) -> None:  # noqa: ARG002 - the framework's shape
        if message["type"] != "http.response.start":
            return
        message.setdefault("headers", [])
        headers = MutableScopeHeaders(message)
        for name, value in self._headers.items():
            headers.setdefault(name, value)
