"""An outbox in one SQLite file: what was saved survives the process. The prompts in it are not encrypted."""

from collections.abc import Callable
from pathlib import Path

from brownout._sync.clock import wall_s
from brownout.runner.outbox import LEASE_S, MOST_BYTES, MOST_TRIES, OutboxFull, Saved
from brownout.runner.sqlite_file import SqliteFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS saved (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, payload BLOB NOT NULL, not_after REAL NOT NULL,
    free_at REAL NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS saved_waiting ON saved (number) WHERE done = 0;
CREATE INDEX IF NOT EXISTS saved_not_after ON saved (not_after);
"""


class SqliteOutbox:
    """At most `most` requests, answered ones included until their `not_after`. Safe for threads and processes.

    `put` returns when the request is on disk.
    """

    def __init__(self, path: str | Path, most: int = 100_000, *, now: Callable[[], float] = wall_s) -> None:
        self._file = SqliteFile(path, _SCHEMA, "full")
        self._most, self._now = most, now

    def put(self, key: str, payload: bytes, not_after: float) -> None:
        if len(payload) > MOST_BYTES:
            raise OutboxFull("the request is too large to save")
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM saved WHERE not_after <= ?", (self._now(),))
            (count,) = connection.execute("SELECT count(*) FROM saved WHERE key <> ?", (key,)).fetchone()
            if count >= self._most:
                raise OutboxFull("the outbox is full")
            connection.execute(
                "INSERT OR IGNORE INTO saved (key, payload, not_after) VALUES (?, ?, ?)", (key, payload, not_after)
            )

    def take(self, lease_s: float = LEASE_S) -> Saved | None:
        now = self._now()
        with self._file.transaction() as connection:
            row = connection.execute(
                "UPDATE saved SET free_at = ?, tries = tries + 1 WHERE number = (SELECT number FROM saved WHERE"
                " done = 0 AND free_at <= ? AND not_after > ? AND tries < ? ORDER BY number LIMIT 1)"
                " RETURNING key, payload, not_after, tries",
                (now + lease_s, now, now, MOST_TRIES),
            ).fetchone()
        return Saved(*row) if row else None

    def done(self, key: str) -> None:
        with self._file.connection() as connection:
            connection.execute("UPDATE saved SET done = 1, payload = x'' WHERE key = ?", (key,))

    def put_back(self, key: str, delay_s: float) -> None:
        with self._file.connection() as connection:
            connection.execute("UPDATE saved SET free_at = ? WHERE key = ?", (self._now() + delay_s, key))

    def close(self) -> None:
        self._file.close()
