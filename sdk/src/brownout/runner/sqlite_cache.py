"""A cache in one SQLite file, shared by a host's processes. The answers in it are not encrypted."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

from brownout._sync.clock import wall_s
from brownout.runner.cache import MOST_CHARACTERS, Cached
from brownout.runner.sqlite_file import SqliteFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answer (key TEXT PRIMARY KEY, text BLOB NOT NULL, at REAL NOT NULL, until REAL NOT NULL);
CREATE INDEX IF NOT EXISTS answer_until ON answer (until);
"""
_CLEAN_EVERY = 64


class SqliteCache:
    """At most about `most` answers; the ones that would expire first go first. Safe for threads and processes."""

    def __init__(self, path: str | Path, most: int = 100_000, *, now: Callable[[], float] = wall_s) -> None:
        self._file = SqliteFile(path, _SCHEMA)
        self._most, self._now = most, now
        self._puts = count()

    def get(self, key: str) -> Cached | None:
        with self._file.connection() as connection:
            row = connection.execute(
                "SELECT text, at FROM answer WHERE key = ? AND until > ?", (key, self._now())
            ).fetchone()
        return Cached(row[0].decode("utf-8", "surrogatepass"), row[1]) if row else None

    def put(self, key: str, value: Cached, max_age_s: float) -> None:
        if len(value.text) > MOST_CHARACTERS:
            return
        now, text = self._now(), value.text.encode("utf-8", "surrogatepass")
        with self._file.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?)", (key, text, value.at, now + max_age_s)
            )
            if next(self._puts) % _CLEAN_EVERY == 0:
                connection.execute("DELETE FROM answer WHERE until <= ?", (now,))
                connection.execute(
                    "DELETE FROM answer WHERE key IN (SELECT key FROM answer ORDER BY until LIMIT"
                    " max(0, (SELECT count(*) FROM answer) - ?))",
                    (self._most,),
                )

    def close(self) -> None:
        self._file.close()
