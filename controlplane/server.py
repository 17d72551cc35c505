"""uvicorn around the application, with signals that end it cleanly."""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import uvicorn

from controlplane.api.limits import MAX_HEADER_BYTES
from controlplane.app import create_app, open_services
from controlplane.background import background
from controlplane.embedded.processes import StartError
from controlplane.services import Services
from controlplane.settings import Settings

WATCH_S = 0.5
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


def listen(host: str, port: int) -> socket.socket:
    """The HTTP socket, bound before anything else starts.

    Raises:
        StartError: the port is taken or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio sets TCP_NODELAY only where it reads this; without it an answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # only now is the port ours: two may bind the same one, as long as nobody listens
    except OSError as error:
        listener.close()
        why = "is already in use" if error.errno == errno.EADDRINUSE else f"cannot be opened: {error.strerror}"
        raise StartError(f"port {port} on {host} {why}") from None
    return listener


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
        config = uvicorn.Config(
            create_app(services),
            http="h11",  # the only one of the two that bounds a header section while reading it
            h11_max_incomplete_event_size=2 * MAX_HEADER_BYTES,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        if prepare:
            await prepare(services)
        server = _Server(config)
        async with background("watch", partial(_end_on, failure, server)) if failure else contextlib.nullcontext():
            await server.serve(sockets=[listener])
    if failure and (why := failure()):
        raise StartError(why)


async def _end_on(failure: Failure, server: uvicorn.Server) -> None:
    while not failure():  # noqa: ASYNC110 - another process gives us no event
        await asyncio.sleep(WATCH_S)
    server.should_exit = True
