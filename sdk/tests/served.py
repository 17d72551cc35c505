"""A service that real servers run: the client is made at import, as services do. Not imported by tests."""

import json
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from brownout import Brownout

client = Brownout.connect(disk=False)
imported_in = os.getpid()


def answer() -> bytes:
    found = {
        "pid": os.getpid(),
        "imported_in": imported_in,
        "first": client.boolean("first"),
        "revision": client.status.revision,
        "sync": client.status.sync,
    }
    return json.dumps(found).encode()


def wsgi(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [answer()]


async def asgi(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": answer()})
