"""Log lines that repeat, counted: a fault or an attacker that says the same a thousand times fills no disk."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from controlplane.kit.clock import Monotonic, monotonic

WINDOW_S = 10.0
SHOWN = 5
"""Of lines alike within WINDOW_S; the others are one line with their number."""
MAX_KINDS = 1_000
"""Told apart at once; beyond it all others count as one kind."""

Later = Callable[[float, Callable[[], None]], object]


class _Kind:
    __slots__ = ("more", "shown", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.shown = 0
        self.more = 0


class Repeated(logging.Filter):
    """For the handler that writes. Lines are alike when logger, level, event and kind of exception are.

    What was left out is told when its window ends, by the one timer there is, or by `tell`.
    """

    def __init__(
        self, write: Callable[[logging.LogRecord], object], monotonic: Monotonic = monotonic,
        later: "Later | None" = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._write = write
        self._monotonic = monotonic
        self._later = later or _timer
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, int, str, str], _Kind] = {}
        self._waiting = False

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._monotonic()
        with self._lock:
            key = _key(record)
            if key not in self._kinds and len(self._kinds) >= MAX_KINDS:
                self._forget(now)
            if key not in self._kinds and len(self._kinds) >= MAX_KINDS:
                key = ("", logging.WARNING, "others", "")
            kind = self._kinds.get(key)
            if kind is None or (now - kind.since >= WINDOW_S and not kind.more):
                kind = self._kinds[key] = _Kind(now)
            if kind.shown < SHOWN:
                kind.shown += 1
                return True
            kind.more += 1
            start, self._waiting = not self._waiting, True
        if start:
            self._later(WINDOW_S, self.tell)
        return False

    def tell(self) -> None:
        """Writes the numbers of the windows that are over."""
        now = self._monotonic()
        with self._lock:
            over = [(key, kind) for key, kind in self._kinds.items() if kind.more and now - kind.since >= WINDOW_S]
            for key, _ in over:
                del self._kinds[key]
            self._waiting = again = any(kind.more for kind in self._kinds.values())
        for (name, level, event, _), kind in over:
            what = ("%d more lines like: %s", (kind.more, event))
            self._write(logging.LogRecord(name or "root", level, "", 0, *what, None))
        if again:
            self._later(WINDOW_S / 2, self.tell)

    def _forget(self, now: float) -> None:
        for key in [key for key, kind in self._kinds.items() if not kind.more and now - kind.since >= WINDOW_S]:
            del self._kinds[key]


def _key(record: logging.LogRecord) -> tuple[str, int, str, str]:
    """Of a structlog line its event, of a library's the text before its arguments went in."""
    said: Any = record.msg
    event = str(said.get("event", "")) if isinstance(said, dict) else str(said)
    cause = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
    return record.name, record.levelno, event[:200], cause


def _timer(wait_s: float, call: Callable[[], None]) -> object:
    timer = threading.Timer(wait_s, call)
    timer.daemon = True
    timer.start()
    return timer
