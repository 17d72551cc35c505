"""Starting and ending the servers that come as wheels, without leaving anything behind."""

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SERVICE_USER = "nobody"
"""Who makes Postgres's data when we are root, for initdb wants a user with a name; and who the servers are where they
cannot have a user of their own (controlplane/embedded/identity.py)."""

HERE = Path("/proc/self/cwd")
"""Where a process stands, for that process, whoever may walk there; Linux only."""

Ids = tuple[int, int]
"""A user and a group, by number."""

_PR_SET_PDEATHSIG = 1
_FIXED_PORTS = range(10_000, 32_000)


class StartError(Exception):
    """A server did not start; the message is one sentence for a person."""


def free_port() -> int:
    """A loopback port below those that the kernel gives to outgoing connections: it is still free after a restart."""
    while not port_is_free(port := secrets.choice(_FIXED_PORTS)):
        pass
    return port


def port_is_free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def service_ids() -> Ids | None:
    """(uid, gid) to run servers as, or None when we are not root."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(SERVICE_USER)
    return entry.pw_uid, entry.pw_gid


def private_mode() -> int:
    """Of a folder of ours: for its owner alone; where there is no HERE, Postgres's user has to walk through."""
    return 0o711 if os.geteuid() == 0 and not HERE.exists() else 0o700


def traversable(path: Path) -> bool:
    """Whether any user could walk down to `path`."""
    return all(p.stat().st_mode & 0o001 for p in [path, *path.parents] if p.exists() and p.is_dir())


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def spawn(
    command: Sequence[str],
    log: Path,
    *,
    ids: Ids | None = None,
    cwd: Path | None = None,
    executable: str | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts a server in a session of its own (a terminal's Ctrl-C is ours to handle); it ends when we die."""
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as out:
        return subprocess.Popen(  # noqa: S603 - our own wheels' binaries
            list(command),
            executable=executable,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=ids[0] if ids else None,
            group=ids[1] if ids else None,
            extra_groups=[] if ids else None,
            cwd=cwd,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads of ours run before the servers do
        )


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, what: str, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if ready():
            return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    tail = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
    stop(process)
    raise StartError(f"{what} did not start: {' / '.join(tail) or 'no output'}")


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, timeout_s: float = 10) -> None:
    """Ends a process politely, then not."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(how)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_orphan(pid_file: Path, marker: str, what: str, timeout_s: float = 15) -> None:
    """Waits for a server that a killed `brownout up` left behind: it got its signal when its parent died.

    `pid_file` begins with its process id; only a process that has `marker` in its command line, or stands in it, is
    meant. One that does not go in time is killed.

    Raises:
        StartError: it is still there.
    """
    deadline = time.monotonic() + timeout_s
    killed = False
    while (pid := _orphan(pid_file, marker)) is not None:
        if time.monotonic() > deadline:
            if killed:
                raise StartError(f"another {what} (process {pid}) already runs on {marker} and does not end")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            killed, deadline = True, time.monotonic() + 5
        time.sleep(0.02)


def _orphan(pid_file: Path, marker: str) -> int | None:
    try:
        pid = int(pid_file.read_text().split()[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        standing_in = str(Path(f"/proc/{pid}/cwd").readlink())
    except (OSError, ValueError, IndexError):
        return None
    return pid if marker.encode() in command or marker == standing_in else None


def binary(name: str) -> Path:
    """A program that one of our wheels installed beside this interpreter."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise StartError(f"{name} is not installed in this environment")
    return Path(found)
