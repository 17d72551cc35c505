"""The log of tools with side effects: a key is ours, not the model's, and runs once."""

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from brownout._sync.clock import wall_s
from brownout.runner.sqlite_file import SqliteFile

__all__ = ["Effect", "EffectLog", "MemoryEffects", "SqliteEffects"]


class Effect(msgspec.Struct, frozen=True):
    """One side effect. `done` is False where it was started and its outcome never became known."""

    key: str
    tool: str
    done: bool = False
    result: Any = None


class EffectLog(Protocol):
    """Keeps effects by key, for as long as a request may be repeated or resumed."""

    def start(self, key: str, tool: str) -> Effect | None:
        """Notes that the effect starts, and returns None; returns what is noted of it if it has started before."""

    def finish(self, key: str, result: Any) -> None:
        """Notes the result, which must have happened before the model sees it."""


def effect_key(request: str, tool: str, arguments: Mapping[str, Any], ordinal: int) -> str:
    """The key of one effect: the same for the same wish, however often a model expresses it.

    Args:
        ordinal: how many calls with the same tool and arguments came before in the conversation.
    """
    canonical = msgspec.json.encode([request, tool, arguments, ordinal], order="deterministic", enc_hook=str)
    return hashlib.sha256(canonical).hexdigest()


class MemoryEffects:
    """Effects of this process. The oldest requests are forgotten first, beyond `most` effects."""

    blocks = False

    def __init__(self, most: int = 100_000) -> None:
        self._effects: dict[str, Effect] = {}
        self._lock = threading.Lock()
        self._most = most

    def start(self, key: str, tool: str) -> Effect | None:
        with self._lock:
            found = self._effects.get(key)
            if found is None:
                if len(self._effects) >= self._most:
                    del self._effects[next(iter(self._effects))]
                self._effects[key] = Effect(key, tool)
            return found

    def finish(self, key: str, result: Any) -> None:
        with self._lock:
            tool = self._effects[key].tool if key in self._effects else ""
            self._effects[key] = Effect(key, tool, True, result)


_SCHEMA = """
CREATE TABLE IF NOT EXISTS effect (key TEXT PRIMARY KEY, tool TEXT NOT NULL, result BLOB, at REAL NOT NULL)
WITHOUT ROWID;
"""


class SqliteEffects:
    """Effects that survive the process and a power cut, in one file of threads and processes. Results must be JSON."""

    def __init__(self, path: str | Path) -> None:
        self._file = SqliteFile(path, _SCHEMA, "full")

    def start(self, key: str, tool: str) -> Effect | None:
        with self._file.connection() as connection:
            added = connection.execute("INSERT OR IGNORE INTO effect VALUES (?, ?, NULL, ?)", (key, tool, wall_s()))
            if added.rowcount == 1:
                return None
            row = connection.execute("SELECT tool, result FROM effect WHERE key = ?", (key,)).fetchone()
        return Effect(key, row[0], row[1] is not None, None if row[1] is None else msgspec.json.decode(row[1]))

    def finish(self, key: str, result: Any) -> None:
        encoded = msgspec.json.encode(result, enc_hook=str)
        with self._file.connection() as connection:
            connection.execute("UPDATE effect SET result = ? WHERE key = ?", (encoded, key))

    def forget(self, before: float) -> int:
        """Deletes what started before that (Unix seconds), and returns how many: requests that old are not repeated."""
        with self._file.connection() as connection:
            return connection.execute("DELETE FROM effect WHERE at < ?", (before,)).rowcount

    def close(self) -> None:
        self._file.close()
