"""One SQLite file that a process's threads and several processes share."""

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

BUSY_S = 10.0
"""The longest wait for another process's write."""


class SqliteFile:
    """A connection that opens on use, again in a forked child. Safe for threads: one lock around every use.

    The file is made readable for its owner only.

    Args:
        durable: `full` survives a power cut, `normal` may lose the last writes then; both survive a killed process.
    """

    def __init__(self, path: str | Path, schema: str, durable: Literal["full", "normal"] = "normal") -> None:
        self._path = Path(path)
        self._schema, self._durable = schema, durable
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        _OPEN.add(self)
        with self.connection():
            pass

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The connection, in autocommit, for this thread alone. Raises sqlite3.Error."""
        with self._lock:
            if self._connection is None:
                self._connection = self._opened()
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction that no other process writes beside. Raises sqlite3.Error."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _opened(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self._path, BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._durable}")
            connection.executescript(self._schema)
        except BaseException:
            connection.close()
            raise
        return connection

    def _forked(self) -> None:
        """A connection must not be used or closed in a child: its parent's locks go with it."""
        if self._connection is not None:
            _INHERITED.append(self._connection)
        self._connection, self._lock = None, threading.Lock()


_OPEN: "weakref.WeakSet[SqliteFile]" = weakref.WeakSet()
_INHERITED: list[sqlite3.Connection] = []


def _after_fork() -> None:
    for each in list(_OPEN):
        each._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
