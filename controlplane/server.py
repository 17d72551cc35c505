"""uvicorn around the application, with signals that end it cleanly."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, cast

import uvicorn

from controlplane.app import create_app, open_services
from controlplane.embedded.processes import StartError
from controlplane.http.edge.listener import listen
from controlplane.http.edge.protocol import GuardedProtocol
from controlplane.http.limits import MAX_HEADER_BYTES
from controlplane.http.root import UnderRoot, root_of
from controlplane.kit.background import background
from controlplane.services import Services
from controlplane.settings import Settings

__all__ = ["listen", "serve"]

WATCH_S = 0.5
BACKLOG = 512
"""Connections that wait to be accepted; asyncio accepts up to as many in one turn of its loop."""
GRACE_S = 3
"""How long open requests (event streams mostly) may finish after a signal."""


class _Server(uvicorn.Server):
    """uvicorn raises the signal again after its shutdown, which would end us before our own; and it takes a second
    Ctrl-C for leave to drop everything, with a traceback. Ours is bounded by GRACE_S however often somebody asks."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _end(self) -> None:
        self.should_exit = True


Prepare = Callable[[Services], Awaitable[None]]
Failure = Callable[[], str]
"""What has broken for good beside us, in one sentence; empty while all is well."""


def serve(
    settings: Settings, listener: socket.socket, prepare: Prepare | None = None, failure: Failure | None = None
) -> None:
    """Serves until SIGINT or SIGTERM. `prepare` runs once every capability is open, before the first request.

    Raises:
        StartError: `failure` said something.
    """
    with asyncio.Runner() as runner:
        runner.run(_serve(settings, listener, prepare, failure))


async def _serve(settings: Settings, listener: socket.socket, prepare: Prepare | None, failure: Failure | None) -> None:
    async with open_services(settings) as services:
        config = configure(services)
        if prepare:
            await prepare(services)
        server = _Server(config)
        async with (
            background("watch", partial(_end_on, failure, server)) if failure else contextlib.nullcontext(),
            background("gate", services.gate.run, loops=services.loops),
        ):
            await server.serve(sockets=[listener])
    if failure and (why := failure()):
        raise StartError(why)


def configure(services: Services) -> uvicorn.Config:
    """uvicorn's settings for the application over `services`; `services.gate.run` belongs beside it."""
    root = root_of(services.settings.url)
    app = create_app(services)
    return uvicorn.Config(
        UnderRoot(app, root) if root else app,
        # h11 is the only one of uvicorn's two that bounds a header section while reading it.
        http=cast("Any", partial(GuardedProtocol, services.gate)),
        ws="none",
        backlog=BACKLOG,
        h11_max_incomplete_event_size=2 * MAX_HEADER_BYTES,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
    )


async def _end_on(failure: Failure, server: uvicorn.Server) -> None:
    while not failure():  # noqa: ASYNC110 - another process gives us no event
        await asyncio.sleep(WATCH_S)
    server.should_exit = True
