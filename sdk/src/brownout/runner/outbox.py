"""Requests saved for a `later` rung: answered when the model is back, once by key, dropped when no one wants them."""

import threading
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from brownout._sync.clock import wall_s

LEASE_S = 300.0
"""How long a worker has for one saved request before another worker takes it."""
MOST_TRIES = 5
MOST_BYTES = 1_000_000


class OutboxFull(Exception):  # noqa: N818 - a condition, like queue.Full
    """There is no room for another request, or it is too large: the ladder's next rung answers."""


class Saved(msgspec.Struct, frozen=True):
    """A request to answer. `tries` counts the times that a worker took it, this one included."""

    key: str
    payload: bytes
    not_after: float
    """Unix seconds; afterwards no one wants the answer."""
    tries: int = 1


class Outbox(Protocol):
    """Keeps requests to answer later. What the runner uses is `put`, which may be async."""

    def put(self, key: str, payload: bytes, not_after: float) -> Any:
        """Saves a request, once by its key: a second one changes nothing, while it waits and after it was answered.

        Raises:
            OutboxFull: there is no room for it.
        """


class Drainable(Outbox, Protocol):
    """An outbox that its service drains itself; with Celery or arq, the queue does it."""

    def take(self, lease_s: float = LEASE_S) -> Saved | None:
        """Returns the oldest request that no worker holds, and leases it; None if there is none."""

    def done(self, key: str) -> None:
        """The request was answered. Its key stays known until `not_after`."""

    def put_back(self, key: str, delay_s: float) -> None:
        """The request was not answered: it is given out again after the delay, MOST_TRIES times in all."""


class _Entry:
    def __init__(self, payload: bytes, not_after: float) -> None:
        self.payload, self.not_after = payload, not_after
        self.free_at, self.tries, self.done = 0.0, 0, False


class MemoryOutbox:
    """Requests of this process, lost with it: for tests and examples. Safe for threads: one lock around every call."""

    blocks = False

    def __init__(self, most: int = 10_000, *, now: Callable[[], float] = wall_s) -> None:
        self._most, self._now = most, now
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def put(self, key: str, payload: bytes, not_after: float) -> None:
        if len(payload) > MOST_BYTES:
            raise OutboxFull("the request is too large to save")
        with self._lock:
            self._drop_old()
            if key in self._entries:
                return
            if len(self._entries) >= self._most:
                raise OutboxFull("the outbox is full")
            self._entries[key] = _Entry(payload, not_after)

    def take(self, lease_s: float = LEASE_S) -> Saved | None:
        with self._lock:
            self._drop_old()
            for key, entry in self._entries.items():
                if not entry.done and entry.free_at <= self._now() and entry.tries < MOST_TRIES:
                    entry.free_at = self._now() + lease_s
                    entry.tries += 1
                    return Saved(key, entry.payload, entry.not_after, entry.tries)
            return None

    def done(self, key: str) -> None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.done, entry.payload = True, b""

    def put_back(self, key: str, delay_s: float) -> None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.free_at = self._now() + delay_s

    def _drop_old(self) -> None:
        now = self._now()
        for key in [key for key, entry in self._entries.items() if entry.not_after <= now]:
            del self._entries[key]
