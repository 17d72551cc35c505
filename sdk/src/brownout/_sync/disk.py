"""The last-known-good file: what a process starts from when NATS does not answer."""

import os
import time
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING

from brownout.wire import bundle
from brownout.wire.bundle import Bundle

if TYPE_CHECKING:
    from brownout._sync.replica import Replica

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: every process writes
    fcntl = None

_SAVE_EVERY_S = 5.0
_DATE_EVERY_S = 300.0
"""How old the date in the file may get while nothing changes."""


class DiskCopy:
    """One file shared by a host's processes. One of them writes it, for as long as it lives; then another does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[bytes] | None = None
        self._saved = (-1, -1)
        self._saved_at = float("-inf")

    def load(self) -> Bundle | None:
        """None when there is no file. Raises OSError or BundleError."""
        try:
            return bundle.read(self.path)
        except FileNotFoundError:
            return None

    def keep(self, replica: "Replica", *, now: float | None = None, last: bool = False) -> None:
        """Writes what `replica` can prove when that is worth it. `last`: this process ends. Raises OSError."""
        now = time.monotonic() if now is None else now
        head = (replica.epoch, replica.revision)
        patience_s = _SAVE_EVERY_S if head != self._saved else _DATE_EVERY_S
        if not last and now - self._saved_at < patience_s:
            return
        content = replica.bundle()
        if content is None or not self._leads():
            return
        self._saved_at = now
        bundle.write(self.path, content)
        self._saved = head

    def release(self) -> None:
        """Lets another process write; in a forked child this leaves the parent's right alone."""
        if self._lock:
            self._lock.close()
            self._lock = None

    def _leads(self) -> bool:
        if self._lock:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.fdopen(os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        try:
            if fcntl:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        self._lock = lock
        return True
