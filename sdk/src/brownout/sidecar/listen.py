"""Where a sidecar listens: loopback or a Unix socket, and nowhere that another host could reach."""

import ipaddress
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brownout.errors import ConfigurationError

DEFAULT = "127.0.0.1:7410"
UNIX = "unix:"
MODE = "600"
BACKLOG = 128


@contextmanager
def listening(address: str, mode: str = MODE) -> Iterator[socket.socket]:
    """A listening socket on `HOST:PORT` or `unix:PATH`, whose file is removed at the end.

    Args:
        address: The host is `localhost` or a loopback address; port 0 lets the system choose.
        mode: The permissions of a Unix socket, in octal digits.

    Raises:
        ConfigurationError: it is no such address, another host could reach it, or it is taken.
    """
    path = address.removeprefix(UNIX) if address.startswith(UNIX) else None
    try:
        bound = _loopback(address) if path is None else _unix(path, mode)
        bound.listen(BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {address}: {error.strerror or error}") from None
    try:
        yield bound
    finally:
        bound.close()
        if path is not None:
            Path(path).unlink(missing_ok=True)


def is_local(host: str) -> bool:
    """Whether `host`, as a Host header has it without its port, names this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _loopback(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535:
        raise ConfigurationError(f"{address!r} is not HOST:PORT or {UNIX}PATH")
    if not is_local(host):
        raise ConfigurationError(f"{host or 'every address'} is not loopback: the sidecar serves this machine only")
    plain = "127.0.0.1" if host.lower() == "localhost" else host.removeprefix("[").removesuffix("]")
    bound = socket.socket(socket.AF_INET6 if ":" in plain else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((plain, int(port)))
    except OSError:
        bound.close()
        raise
    return bound


def _unix(path: str, mode: str) -> socket.socket:
    if not path:
        raise ConfigurationError(f"{UNIX} needs a path")
    if not re.fullmatch("[0-7]{3}", mode):
        raise ConfigurationError(f"{mode!r} is not a mode like {MODE}")
    _remove_abandoned(Path(path))
    bound = socket.socket(socket.AF_UNIX)
    before = os.umask(0o777 & ~int(mode, 8))  # never open to more than `mode`, not for a moment
    try:
        bound.bind(path)
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(before)
    return bound


def _remove_abandoned(path: Path) -> None:
    """The file of a sidecar that was killed. One that still answers is left alone, and so is what is no socket."""
    if not path.exists() or not stat.S_ISSOCK(path.lstat().st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
