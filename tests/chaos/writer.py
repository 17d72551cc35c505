"""Somebody who never stops committing, over HTTP, to whichever control plane answers."""

import itertools
import random
import threading
import time
from typing import NamedTuple
from uuid import uuid4

import httpx
import msgspec

from tests.chaos.system import ENVIRONMENT, System

KEYS = 40
PAUSE_S = 0.03
TIMEOUT_S = 3.0


class Acknowledged(NamedTuple):
    """What a control plane said it has committed, and the monotonic instant at which it said so."""

    epoch: int
    revision: int
    key: str
    spec: bytes
    at: float

    @property
    def position(self) -> tuple[int, int]:
        return self.epoch, self.revision


class _Answer(msgspec.Struct):
    revision: int
    epoch: int


class Writer:
    """Commits between `start` (or entering) and `stop`. A commit that got no answer is asked for again, elsewhere, under
    the same idempotency key, until it is acknowledged."""

    def __init__(self, system: System) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.refusals: list[str] = []
        self._system = system
        self._name = uuid4().hex[:8]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Acknowledged:
        """Ends after the commit under way; returns the last one."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(60)
        assert not self._thread.is_alive(), "the writer's last commit was never acknowledged"
        return self.acknowledged[-1]

    def since(self, instant: float) -> list[Acknowledged]:
        return [done for done in self.acknowledged if done.at >= instant]

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self._system.token}", "Content-Type": "application/json"}
        with httpx.Client(headers=headers, timeout=TIMEOUT_S) as http:
            for number in itertools.count():
                if self._stopping.is_set():
                    return
                self._commit(
                    http, f"chaos-{number % KEYS}", msgspec.json.encode({"include": [f"{self._name}-{number}"]})
                )
                time.sleep(PAUSE_S)

    def _commit(self, http: httpx.Client, key: str, spec: bytes) -> None:
        idempotency = {"Idempotency-Key": uuid4().hex}
        while True:
            replica = random.choice(self._system.replicas)
            url = f"{replica.url}/api/v1/environments/{ENVIRONMENT}/cohorts/{key}"
            try:
                answer = http.put(url, content=spec, headers=idempotency)
            except httpx.HTTPError:
                time.sleep(0.05)
                continue
            if answer.is_success:
                done = msgspec.json.decode(answer.content, type=_Answer)
                self.acknowledged.append(Acknowledged(done.epoch, done.revision, key, spec, time.monotonic()))
                return
            if answer.status_code < 500:
                self.refusals.append(answer.text)
            time.sleep(0.05)
