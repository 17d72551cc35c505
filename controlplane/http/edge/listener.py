"""The listening socket, and the file descriptors that connections take."""

import errno
import os
import resource
import socket
from typing import Any

import structlog

from controlplane.embedded.processes import StartError

log = structlog.get_logger(__name__)

OTHER_DESCRIPTORS = 256
"""What is no connection of a client: the database's pools, NATS, files."""
MANY = 1_048_576

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Listener(socket.socket):
    """Accepts, and when no descriptor is left drops the caller.

    asyncio would leave it in the queue, write a traceback for each free place in the backlog, and be deaf for a second.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._spare = _spare()

    def accept(self) -> tuple[socket.socket, Any]:
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._drop()
            log.error("no_descriptor_left", error=os.strerror(error.errno))
            raise BlockingIOError(error.errno, "dropped") from None

    def close(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        super().close()

    def _drop(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
        try:
            super().accept()[0].close()
        except OSError:
            pass  # somebody else took the place, or the caller has gone
        finally:
            self._spare = _spare()


def _spare() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def listen(host: str, port: int) -> Listener:
    """The HTTP socket, bound before anything else starts.

    Raises:
        StartError: the port is taken or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio sets TCP_NODELAY only where it reads this; without it an answer waits 40 ms for an ACK.
    listener = Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # only now is the port ours: two may bind the same one, as long as nobody listens
    except OSError as error:
        listener.close()
        why = "is already in use" if error.errno == errno.EADDRINUSE else f"cannot be opened: {error.strerror}"
        raise StartError(f"port {port} on {host} {why}") from None
    return listener


def raise_descriptors() -> int:
    """Raises the soft limit of file descriptors to the hard one, and returns what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY if hard == resource.RLIM_INFINITY else min(hard, MANY)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MANY if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has a limit of its own below "infinity"
        return soft
    return wanted


def affordable(connections: int) -> int:
    """How many of `connections` there are descriptors for; the log says what holds."""
    descriptors = raise_descriptors()
    possible = max(descriptors - OTHER_DESCRIPTORS, descriptors // 2)
    allowed = min(connections, possible)
    say = log.warning if allowed < connections else log.info
    say("connection_limit", connections=allowed, wanted=connections, descriptors=descriptors)
    return allowed
