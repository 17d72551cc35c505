"""Answering saved requests while the model has room to spare: a tenth of it, and none while it recovers."""

import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from brownout._sync.clock import uptime
from brownout._sync.log import log
from brownout.runner.breaker import Breaker
from brownout.runner.limiter import SHARES, Limiter
from brownout.runner.outbox import Drainable, Saved
from brownout.runner.reply import Reply

SHARE = 0.1
RETRY_S = 60.0
"""How long a request rests that could not be answered."""


class Room:
    """What draining may use of one target. Safe for threads: one lock around every call."""

    def __init__(self, breaker: Breaker, limiter: Limiter, now: Callable[[], float] = uptime) -> None:
        self._breaker, self._limiter, self._now = breaker, limiter, now
        self._lock = threading.Lock()
        self._draining = 0

    def enter(self) -> bool:
        """Takes a place, if the target is healthy, has room as for what is sheddable, and draining has its tenth."""
        limit = self._limiter.limit
        with self._lock:
            if (
                self._breaker.state(self._now()) != "closed"
                or self._limiter.in_flight >= SHARES["sheddable"] * limit
                or self._draining >= max(1.0, SHARE * limit)
            ):
                return False
            self._draining += 1
            return True

    def leave(self) -> None:
        """Gives the place back."""
        with self._lock:
            self._draining -= 1


class Rooms:
    """Room at each of several targets at once."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        self._rooms = rooms

    def enter(self) -> bool:
        entered: list[Room] = []
        for room in self._rooms:
            if not room.enter():
                for each in entered:
                    each.leave()
                return False
            entered.append(room)
        return bool(entered)

    def leave(self) -> None:
        for room in self._rooms:
            room.leave()


class Again(msgspec.Struct, frozen=True):
    """A saved request, as the runner asks it again: it writes and reads this as the payload."""

    request_class: str
    context: dict[str, Any]
    arguments: tuple[Any, ...]
    given: dict[str, Any]
    values: dict[str, Any] = {}


class NotAnswered(Exception):  # noqa: N818 - a condition, like queue.Empty
    """No model has answered a saved request in full: it rests."""


def whole(reply: Reply) -> Reply:
    """Raises NotAnswered unless a model answered in full."""
    if reply.outcome != "answered" or reply.rung != "model" or reply.provisional:
        raise NotAnswered(f"a saved request ended as {reply.outcome}, by {reply.answered_by or 'nothing'}")
    return reply


def encode(again: Again) -> bytes:
    """As JSON; what is none is written by `str`."""
    return msgspec.json.encode(again, enc_hook=str)


decode = msgspec.json.Decoder(Again).decode


def drain(outbox: Drainable, answer: Callable[[Saved], object], room: Room | Rooms) -> int:
    """Answers saved requests one after another while there is room, and returns how many.

    `answer` runs the request again and delivers the reply. If it raises, the request rests and draining ends for now; a
    reply that is provisional or saved again should raise, too. A worker that is killed leaves the request to another
    one: use its key as the request's, so that effects and deliveries are not repeated.
    """
    answered = 0
    while room.enter():
        try:
            saved = outbox.take()
            if saved is None:
                break
            try:
                answer(saved)
            except Exception:  # noqa: BLE001 - whatever a service raises
                _rests(outbox, saved)
                break
            outbox.done(saved.key)
            answered += 1
        finally:
            room.leave()
    return answered


async def drain_async(outbox: Drainable, answer: Callable[[Saved], Awaitable[object]], room: Room | Rooms) -> int:
    """As `drain`, with an `answer` that is awaited."""
    answered = 0
    while room.enter():
        try:
            saved = outbox.take()
            if saved is None:
                break
            try:
                await answer(saved)
            except Exception:  # noqa: BLE001 - whatever a service raises
                _rests(outbox, saved)
                break
            outbox.done(saved.key)
            answered += 1
        finally:
            room.leave()
    return answered


def _rests(outbox: Drainable, saved: Saved) -> None:
    outbox.put_back(saved.key, RETRY_S)
    log.warning("a saved request could not be answered (try %d)", saved.tries, exc_info=True)
