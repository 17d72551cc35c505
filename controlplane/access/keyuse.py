"""When each SDK key was last used: noted in memory at once, told to the database once a minute at most."""

from collections.abc import Iterable, Mapping

EVERY_MS = 60_000


class KeyUses:
    """Instants in Unix ms by key id. Holds as many as there are keys, however long nobody can be told."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._told: dict[str, int] = {}

    def note(self, keys: Iterable[str], now_ms: int) -> None:
        for key in keys:
            self._seen[key] = now_ms

    def due(self, now_ms: int) -> Mapping[str, int]:
        """What is news: a first use at once, later ones when a minute has gone by since the last was told."""
        return {
            key: seen
            for key, seen in self._seen.items()
            if seen > (told := self._told.get(key, 0)) and now_ms - told >= EVERY_MS
        }

    def told(self, uses: Mapping[str, int]) -> None:
        self._told.update(uses)
