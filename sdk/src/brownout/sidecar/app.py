"""The sidecar as an ASGI application: who may ask, how much, and how long."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from brownout.client import Brownout
from brownout.sidecar.answers import Answer, RefusedError, answer, route
from brownout.sidecar.changes import Subscription
from brownout.sidecar.listen import is_local
from brownout.wire.ofrep import MAX_BODY_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_STREAMS = 64
BODY_S = 10.0
"""How long a client may take to send a body."""
KEEP_ALIVE_S = 15.0
"""An event stream is never silent for longer, so that a dead reader is noticed."""

log = logging.getLogger("brownout.sidecar")


class App:
    """`unix` says that it listens on a Unix socket, whose callers name any host."""

    def __init__(self, client: Brownout, *, unix: bool = False) -> None:
        self._client = client
        self._unix = unix
        self._streams: set[Subscription] = set()
        self._closing = False

    def close(self) -> None:
        """Ends the event streams, which would otherwise keep the server from ending."""
        self._closing = True
        for stream in self._streams:
            stream.end()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        try:
            self._check(headers)
            if route(scope["method"], scope["path"]) == "/changes":
                await self._stream(receive, send)
                return
            body = await _body(receive)
            found = answer(self._client, scope["path"], dict(headers), body)
        except RefusedError as error:
            found = error.answer
        except ConnectionError:
            return
        except Exception:
            log.exception("a request failed")
            found = RefusedError(500, "internal", "this is a fault of the sidecar; its log says more").answer
        await _send(send, found)

    def _check(self, headers: list[tuple[str, str]]) -> None:
        """A web page reaches loopback too: under a name of its own (DNS rebinding), or with an Origin. It gets nothing."""
        hosts = [value for name, value in headers if name == "host"]
        if not self._unix and (len(hosts) != 1 or not is_local(_without_port(hosts[0]))):
            raise RefusedError(421, "forbidden", "the Host header does not name this machine")
        if any(name == "origin" for name, _ in headers):
            raise RefusedError(403, "forbidden", "the sidecar serves services, not web pages")

    async def _stream(self, receive: Receive, send: Send) -> None:
        if len(self._streams) >= MAX_STREAMS or self._closing:
            raise RefusedError(503, "unavailable", f"{MAX_STREAMS} streams are open already")
        head = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        with Subscription(self._client) as stream:
            self._streams.add(stream)
            watch = asyncio.ensure_future(_watch(receive, stream))
            try:
                while not stream.over:
                    try:
                        async with asyncio.timeout(KEEP_ALIVE_S):
                            await stream.wake.wait()
                    except TimeoutError:
                        pass
                    events = stream.take() or b":\n\n"
                    await send({"type": "http.response.body", "body": events, "more_body": True})
            finally:
                self._streams.discard(stream)
                watch.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _watch(receive: Receive, stream: Subscription) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end()


async def _body(receive: Receive) -> bytes:
    """Raises RefusedError for too much of it, and ConnectionError if the client has gone."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    raise RefusedError(413, "too_large", f"the body is larger than {MAX_BODY_BYTES:,} bytes")
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise RefusedError(408, "invalid", f"the body took longer than {BODY_S:.0f} s") from None


async def _send(send: Send, found: Answer) -> None:
    headers = list(found.headers)
    if found.status not in {204, 304}:
        headers.append((b"content-length", str(len(found.body)).encode()))
    if found.status in {408, 413}:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": found.body})


def _without_port(host: str) -> str:
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdecimal() else host
