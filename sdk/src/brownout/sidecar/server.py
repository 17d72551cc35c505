"""Runs the sidecar until it is told to stop: then its event streams end, requests finish, and the client says goodbye."""

import logging
import signal
import socket
from collections.abc import Callable

import uvicorn

from brownout.client import Brownout
from brownout.sidecar.app import App
from brownout.sidecar.listen import listening

MAX_CONNECTIONS = 512
GRACE_S = 5
"""How long requests may take after the signal."""

log = logging.getLogger("brownout.sidecar")


class Server(uvicorn.Server):
    def __init__(self, app: App) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.close()
        await super().shutdown(sockets)


def serve(connect: Callable[[], Brownout], address: str, socket_mode: str) -> None:
    """Serves on `address` (brownout.sidecar.listen) until SIGTERM or SIGINT, then closes the client.

    Raises:
        ConfigurationError: the address is refused or taken, or the client lacks something.
    """
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    # uvicorn handles both while it runs, and raises them again when it has ended: what comes after must still run.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with listening(address, socket_mode) as bound, connect() as client:
        if not stopped:
            log.info("listening on %s", bound.getsockname())
            Server(App(client, unix=bound.family == socket.AF_UNIX)).run(sockets=[bound])
