"""Scoring a share of the answers off the request path, into the measure `quality`."""

import asyncio
import inspect
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec

from brownout._sync.chance import spread
from brownout.runner.reply import Reply
from brownout.runner.workers import Workers

if TYPE_CHECKING:
    from brownout.client import Brownout

log = logging.getLogger("brownout.runner")

SHARE = 0.05
MOST_WAITING = 100


class Answer(msgspec.Struct, frozen=True):
    """What is judged: the reply, and what the model was asked with."""

    request_class: str
    reply: Reply
    arguments: tuple[Any, ...]
    given: Mapping[str, Any]
    """The keyword arguments of the callables: `messages` above all, the policy's prompt included."""


class Judge:
    """Gives a share of the models' answers to `score`, one after another, in a thread that ends when nothing waits.

    Never blocks a request and never raises into one. A request is sampled by chance alone, so every variant of a rollout
    has the same share.
    """

    def __init__(
        self, score: Callable[[Answer], Any], *, share: float = SHARE, request_classes: Collection[str] | None = None,
        most_waiting: int = MOST_WAITING, chance: Callable[[], float] = spread.random,
    ) -> None:  # fmt: skip
        """
        Args:
            score: Returns how good an answer is, or None if it cannot say. Plain or async: an async one runs in an event
                loop of its own.
            share: The share of answers to score, from 0 to 1.
            request_classes: Those to score; None is all.
            most_waiting: Answers that wait at most. Further ones are dropped, and counted.
            chance: Returns random numbers from 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ValueError("share is from 0 to 1")
        self.scored = 0
        self.dropped = 0
        """Answers for which there was no room."""
        self.failed = 0
        """Answers for which `score` raised, or returned no number."""
        self._score, self._share, self._most, self._chance = score, share, most_waiting, chance
        self._classes = None if request_classes is None else frozenset(request_classes)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Brownout, Answer]] = deque()
        self._works = False
        """Whether a thread takes what waits."""
        self._workers = Workers()

    def offer(self, client: "Brownout", reply: Reply, arguments: tuple[Any, ...], given: Mapping[str, Any]) -> None:
        """Takes an answer, perhaps."""
        request_class = reply.policy.request_class
        if reply.outcome != "answered" or reply.rung != "model" or not reply.text:
            return
        if self._classes is not None and request_class not in self._classes:
            return
        if self._chance() >= self._share:
            return
        if self._pid != os.getpid():  # a forked child has none of its parent's threads
            self._pid, self._lock, self._works = os.getpid(), threading.Lock(), False
            self._waiting.clear()
        with self._lock:
            if len(self._waiting) >= self._most:
                self.dropped += 1
                return
            self._waiting.append((client, Answer(request_class, reply, arguments, given)))
            if self._works:
                return
            self._works = True
        try:
            self._workers.run(self._work)
        except RuntimeError:  # no thread can be started
            with self._lock:
                self._works = False

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._works = False
                    return
                client, answer = self._waiting.popleft()
            try:
                quality = self._quality(answer)
                if quality is not None:
                    client.score(answer.reply.policy, quality)
                    self.scored += 1
            except BaseException:
                self.failed += 1
                log.warning("%s: an answer could not be judged", answer.request_class, exc_info=True)

    def _quality(self, answer: Answer) -> float | None:
        said = self._score(answer)
        if inspect.isawaitable(said):
            said = asyncio.run(_awaited(said))
        if said is None:
            return None
        quality = float(said)
        if not isfinite(quality):
            raise ValueError(f"{quality} is no quality")
        return quality


async def _awaited(work: Any) -> Any:
    return await work
