"""The event loop of the sync thread: the standard one, whatever the application's policy is, without an executor.

A name that resolves slowly would else hold up `close()` and the end of the interpreter, which waits for executors' threads.
"""

import asyncio
import contextlib
from typing import Any

from brownout._sync import native


class Loop(asyncio.SelectorEventLoop):
    """Resolves each name in a daemon thread of its own; who gives up waiting leaves it behind."""

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - as in socket.getaddrinfo
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        found: asyncio.Future[list[Any]] = self.create_future()
        resolve = native.original("socket", "getaddrinfo")

        def settle(result: Any, error: OSError | None) -> None:
            if not found.done():
                found.set_exception(error) if error else found.set_result(result)

        def run() -> None:
            result, error = None, None
            try:
                result = resolve(host, port, family, type, proto, flags)
            except OSError as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self.call_soon_threadsafe(settle, result, error)

        native.start(run, "brownout-resolve")
        return await found
