"""Token buckets: how much of something each of many may have in a time."""

from collections.abc import Callable, Hashable


class Buckets:
    """Token buckets, one a place, full at first; `now` returns monotonic seconds."""

    def __init__(self, at_once: float, per_minute: float, now: Callable[[], float]) -> None:
        self._at_once = at_once
        self._per_minute = per_minute
        self._now = now
        self._left: dict[Hashable, tuple[float, float]] = {}

    def take(self, place: Hashable, cost: float) -> bool:
        """Whether there was room for `cost`."""
        now = self._now()
        left, at = self._left.get(place, (self._at_once, now))
        left = min(self._at_once, left + (now - at) * self._per_minute / 60.0)
        enough = left >= cost
        self._left[place] = (left - cost if enough else left, now)
        return enough
