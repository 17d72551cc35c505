"""What Postgres holds of each environment, as commits and a look every second tell: the measure of being late."""

import asyncio
from collections.abc import Iterator, Sequence

from controlplane.configuration.store.values import Environment
from controlplane.publish.parts import Position


class Heads:
    """Times are the event loop's."""

    def __init__(self) -> None:
        self._heads: dict[str, Position] = {}
        self._noted: dict[str, float] = {}
        self._late: dict[str, float] = {}

    def find(self, environment: str) -> Position | None:
        return self._heads.get(environment)

    def note(self, environment: str, revision: int) -> None:
        """Somebody committed; of an environment that was never listed, nothing can be said yet."""
        known = self._heads.get(environment)
        if known is not None and revision > known.revision:
            self._heads[environment] = Position(known.epoch, revision)
            self._noted[environment] = asyncio.get_running_loop().time()

    def replace(self, found: Sequence[Environment], asked: float) -> Iterator[tuple[str, bool]]:
        """What was found by a question asked at `asked`: final, but for what was committed since. Yields who moved."""
        before = self._heads
        self._heads = {each.key: Position(each.epoch, each.revision) for each in found}
        for key, head in self._heads.items():
            known = before.get(key)
            if known is not None and self._noted.get(key, 0.0) >= asked:
                self._heads[key] = max(head, known)
            yield key, known != self._heads[key]

    def late(self, environment: str, published: Position | None) -> float:
        """For how many seconds `published` has been less than the head."""
        head, now = self._heads.get(environment), asyncio.get_running_loop().time()
        if head is None or (published is not None and published >= head):
            self._late.pop(environment, None)
            return 0.0
        return now - self._late.setdefault(environment, now)
