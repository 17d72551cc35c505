"""Messages that wait to be folded: the newest of each instance, and fair turns between environments and keys."""

from typing import NamedTuple

from controlplane.kit.link import Heard
from controlplane.telemetry.boundary import Opening, Speaker
from controlplane.telemetry.fold import Position

MAX_BYTES_A_KEY = 64 * 1024 * 1024
"""Kept while Postgres does not answer; the oldest instance's is dropped first, and comes again by itself."""

BATCH_MESSAGES, BATCH_BYTES = 200, 4 * 1024 * 1024
"""What one turn of one key folds at most: whoever reports much waits for its own next turn."""


class Waiting(NamedTuple):
    speaker: Speaker
    position: Position
    sequence: int
    data: bytes
    asks: tuple[Heard, ...] = ()
    """Who wants to hear that it is written down: one at most."""


class _Lane:
    """What waits of one key."""

    def __init__(self) -> None:
        self.waiting: dict[Position, Waiting] = {}
        self._bytes = 0

    def put(self, new: Waiting) -> None:
        known = self.waiting.pop(new.position, None)
        if known is not None:
            self._bytes -= len(known.data)
            newest = new if new.sequence > known.sequence else known
            new = newest._replace(asks=(known.asks + new.asks)[-1:])
        self.waiting[new.position] = new
        self._bytes += len(new.data)
        while self._bytes > MAX_BYTES_A_KEY and len(self.waiting) > 1:
            self._pop()

    def take(self) -> list[Waiting]:
        batch: list[Waiting] = []
        size = 0
        while self.waiting and len(batch) < BATCH_MESSAGES and size < BATCH_BYTES:
            batch.append(self._pop())
            size += len(batch[-1].data)
        return batch

    def _pop(self) -> Waiting:
        first = self.waiting.pop(next(iter(self.waiting)))
        self._bytes -= len(first.data)
        return first


class Inbox:
    def __init__(self) -> None:
        self._lanes: dict[tuple[str, str], _Lane] = {}

    def put(self, speaker: Speaker, opening: Opening, data: bytes, asks: Heard | None = None) -> None:
        """Keeps it when it is the newest of its instance and start."""
        position = Position(speaker.key, speaker.instance, opening.start)
        self.put_back(Waiting(speaker, position, opening.sequence, data, (asks,) if asks else ()))

    def put_back(self, waiting: Waiting) -> None:
        self._lanes.setdefault((waiting.speaker.environment, waiting.speaker.key), _Lane()).put(waiting)

    def environments(self) -> list[str]:
        """Those for which something waits."""
        return list(dict.fromkeys(environment for environment, _ in self._lanes))

    def keys(self, environment: str) -> list[str]:
        return [key for place, key in self._lanes if place == environment]

    def waiting(self, environment: str, key: str) -> int:
        lane = self._lanes.get((environment, key))
        return len(lane.waiting) if lane else 0

    def take(self, environment: str, key: str) -> list[Waiting]:
        """The key's next batch, the longest waiting first; empty when nothing waits."""
        lane = self._lanes.get((environment, key))
        batch = lane.take() if lane else []
        if lane and not lane.waiting:
            del self._lanes[environment, key]
        return batch
