"""Changes as server-sent events. What a slow reader has not read yet is merged, so a stream's memory is bounded."""

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from brownout.client import Brownout

if TYPE_CHECKING:
    from brownout.status import Change, Status


class Told(msgspec.Struct, frozen=True):
    """`resources` null: any of them may have changed."""

    revision: int
    cause: str
    resources: tuple[dict[str, str], ...] | None


class Subscription:
    """One reader's. `take` returns what is new; `wake` is set when something is, or when the stream is over."""

    def __init__(self, client: Brownout) -> None:
        self.wake = asyncio.Event()
        self.over = False
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._lock = threading.Lock()
        self._change: Change | None = None
        self._status: Status | None = client.status
        self._ends: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        self._ends = [self._client.on_change(self._changed), self._client.on_status(self._moved)]
        self.wake.set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in self._ends:
            end()

    def end(self) -> None:
        """Called on the event loop."""
        self.over = True
        self.wake.set()

    def take(self) -> bytes:
        """The events since the last call."""
        self.wake.clear()
        with self._lock:
            change, self._change = self._change, None
            status, self._status = self._status, None
        events = b""
        if status is not None:
            said = {"state": status.state, "revision": status.revision, "source": status.source}
            events += _event("status", status.revision, said)
        if change is not None:
            named = tuple({"kind": ref.kind, "key": ref.key} for ref in sorted(change.resources))
            events += _event("change", change.revision, Told(change.revision, change.cause, named or None))
        return events

    def _changed(self, change: "Change") -> None:
        """On the client's thread."""
        with self._lock:
            waiting = self._change
            if waiting is not None:
                both = waiting.resources and change.resources
                resources = waiting.resources | change.resources if both else frozenset()
                change = msgspec.structs.replace(change, resources=resources)
            self._change = change
        self._loop.call_soon_threadsafe(self.wake.set)

    def _moved(self, status: "Status") -> None:
        with self._lock:
            self._status = status
        self._loop.call_soon_threadsafe(self.wake.set)


def _event(name: str, revision: int, data: object) -> bytes:
    return b"event: %s\nid: %d\ndata: %s\n\n" % (name.encode(), revision, msgspec.json.encode(data))
