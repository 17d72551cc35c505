"""One environment's instances and how far they are, in memory. Pure: every call is told what time it is.

Times are Unix seconds of this control plane's clock. What an instance dates by its own is moved by how far ours is
ahead of it: at most what the fastest of its last messages took to arrive, so a message that waited in a queue delays
nobody's time (the clock filter of RFC 5905, section 10).
"""

from collections import Counter, deque
from typing import NamedTuple

import msgspec

from controlplane.telemetry.values import Outside

LIVE_S = 30.0
"""An instance that has said nothing for this long is not live."""

LAGGING_S = 5.0
"""An instance that lacks a commit this long after it was published lags."""

CLOCK_SAMPLES = 8
"""Messages of an instance that its clock is judged by; after a clock was set, so many may mislead."""

TRACKED = 100
"""Commits whose convergence is followed at once; in a burst the oldest give way."""


class Head(NamedTuple):
    """A position in the log; later is greater."""

    epoch: int = 0
    revision: int = 0


class Seen(msgspec.Struct):
    """What an instance said last."""

    instance: str
    service: str
    sdk_version: str
    head: Head
    state: str
    age_s: float
    first_seen: float
    last_seen: float
    applied: float
    """When it came to `head`, by our clock."""
    closed: bool = False
    ahead: tuple[float, ...] = ()
    """How far our clock was ahead of the instance's when each of its last messages arrived, their way included."""
    key: str = ""
    """The fingerprint of its SDK key."""
    outside: tuple[Outside, ...] = ()
    """The activations it applies that are not in the log, as it says."""
    clock_skew_s: float = 0.0
    """How far the clock of its host is ahead of the control plane's, as it says."""
    schema_level: int = 1
    """What it can read (brownout.model.levels)."""


def clock_samples(known: Seen | None, ahead: float) -> tuple[float, ...]:
    return (*(known.ahead if known else ()), ahead)[-CLOCK_SAMPLES:]


def _shown(seen: Seen) -> tuple[object, ...]:
    """What viewers are told of at once when it changes."""
    return seen.head, seen.state, seen.closed, seen.outside


class Convergence(msgspec.Struct):
    """How one commit spread. `took_*_ms` stay as measured when first reached; None = not (yet) reached."""

    epoch: int
    revision: int
    published: float
    live: int = 0
    applied: int = 0
    took_50_ms: int | None = None
    took_95_ms: int | None = None
    took_100_ms: int | None = None
    latest_ms: int = 0

    @property
    def percent(self) -> float:
        return 100.0 * self.applied / self.live if self.live else 100.0

    @property
    def reached(self) -> int:
        return sum(took is not None for took in (self.took_50_ms, self.took_95_ms, self.took_100_ms))

    def note(self, live: int, applied: int, at: float) -> bool:
        """Returns whether a threshold was reached just now. Without instances nothing is ever reached."""
        self.live, self.applied = live, applied
        if not live:
            return False
        before = self.reached
        # presence arrives in any order: a share is reached when the last of those that make it up applied
        took = self.latest_ms = max(self.latest_ms, round((at - self.published) * 1000))
        if self.took_50_ms is None and applied * 2 >= live:
            self.took_50_ms = took
        if self.took_95_ms is None and applied * 100 >= live * 95:
            self.took_95_ms = took
        if self.took_100_ms is None and applied == live:
            self.took_100_ms = took
        return self.reached > before


class _Tracked(NamedTuple):
    convergence: Convergence
    behind: set[str]


class FleetState:
    """`version` grows with every change; what changed since can be asked again cheaply."""

    def __init__(self) -> None:
        self.head = Head()
        """The newest that was seen on its way out."""
        self.head_published = 0.0
        self.held = Head()
        """What Postgres holds; Head() while nobody has said so."""
        self.version = 0
        self.instances: dict[str, Seen] = {}
        self._live: set[str] = set()
        self._fresh: deque[tuple[float, Head]] = deque()
        """Published less than LAGGING_S ago."""
        self._due = Head()
        """The newest of the others: whoever is behind this lags."""
        self._tracked: dict[Head, _Tracked] = {}
        self._done: list[Convergence] = []
        self._touched: set[str] = set()
        self._at: Counter[Head] = Counter()
        """Live instances by what they have applied."""
        self._of_key: Counter[str] = Counter()
        """Instances remembered by SDK key."""

    @property
    def top(self) -> Head:
        """What every instance is to come to."""
        return self.held if self.held > Head() else self.head

    def committed(self, head: Head, at: float) -> None:
        """Postgres holds `head`: from now on instances can be late for it, whether or not it has gone out."""
        if head <= self.held:
            return
        self.held = head
        self.version += 1
        if head > self.head:
            self._fresh.append((at, head))

    def published(self, head: Head, at: float, *, known: bool = True) -> None:
        """A commit was seen on its way out; without anybody live there is nothing to converge.

        `known=False`: we only learn that it is the head, not since when.
        """
        if head <= self.head:
            return
        first = self.head == Head()
        self.head, self.head_published = head, at
        if head > self.held:
            self._fresh.append((at, head))
        self.expected(at)
        self.version += 1
        if not self._live or (first and not known):
            return
        behind = {name for name in self._live if self.instances[name].head < head}
        tracked = _Tracked(Convergence(head.epoch, head.revision, at), behind)
        self._tracked[head] = tracked
        if len(self._tracked) > TRACKED:
            self._finish(next(iter(self._tracked)))
        self._note(tracked, at)

    def heard(self, seen: Seen) -> None:
        """An instance spoke (`first_seen` is ours to keep)."""
        known = self.instances.get(seen.instance)
        if known is not None:
            seen.first_seen = known.first_seen
        was_live = seen.instance in self._live
        if was_live:
            self._left(seen.instance)
        self.remember(seen)
        self._touched.add(seen.instance)
        changed = known is None or _shown(known) != _shown(seen)
        if not seen.closed:
            self._live.add(seen.instance)
            self._at[seen.head] += 1
        if not changed and was_live:
            return
        self.version += 1
        for tracked in list(self._tracked.values()):
            if seen.closed or seen.head >= Head(tracked.convergence.epoch, tracked.convergence.revision):
                tracked.behind.discard(seen.instance)
            else:
                tracked.behind.add(seen.instance)
            self._note(tracked, seen.applied)

    def expire(self, at: float) -> None:
        """Instances that fell silent are no longer live, and no longer waited for."""
        silent = [name for name in self._live if self.instances[name].last_seen < at - LIVE_S]
        if not silent:
            return
        self.version += 1
        for name in silent:
            self._left(name)
        for tracked in list(self._tracked.values()):
            tracked.behind.difference_update(silent)
            self._note(tracked, at)
        for name in [name for name, seen in self.instances.items() if seen.last_seen < at - 3600]:
            self._forget(name)

    def _left(self, name: str) -> None:
        """A live instance is not any more, or not at its head."""
        self._live.remove(name)
        head = self.instances[name].head
        self._at[head] -= 1
        if not self._at[head]:
            del self._at[head]

    def remember(self, seen: Seen) -> None:
        known = self.instances.get(seen.instance)
        if known is not None:
            self._of_key[known.key] -= 1
        self._of_key[seen.key] += 1
        self.instances[seen.instance] = seen

    def _forget(self, name: str) -> None:
        self._of_key[self.instances.pop(name).key] -= 1

    def admits(self, instance: str, key: str, limit: int) -> bool:
        """Whether an instance may speak under this name: a live one's name is its key's, and a key has `limit` names.

        The longest silent one of the key gives way to a new one.
        """
        known = self.instances.get(instance)
        if known is not None:
            return known.key == key or not self.is_live(instance)
        if self._of_key[key] < limit:
            return True
        gone = [seen for seen in self.instances.values() if seen.key == key and not self.is_live(seen.instance)]
        if not gone:
            return False
        for seen in sorted(gone, key=lambda seen: seen.last_seen)[: 1 + len(gone) // 10]:
            self._forget(seen.instance)
        return True

    def _note(self, tracked: _Tracked, at: float) -> None:
        convergence = tracked.convergence
        live = len(self._live)
        convergence.note(live, live - len(tracked.behind), at)
        if convergence.took_100_ms is not None:
            self._finish(Head(convergence.epoch, convergence.revision))

    def _finish(self, head: Head) -> None:
        self._done.append(self._tracked.pop(head).convergence)

    @property
    def live(self) -> int:
        return len(self._live)

    def is_live(self, instance: str) -> bool:
        return instance in self._live

    def applying(self, key: str) -> tuple[int, int]:
        """Live instances that say that they apply this activation beside the log, and all live ones."""
        applying = sum(any(one.key == key for one in self.instances[name].outside) for name in self._live)
        return applying, len(self._live)

    def applied(self, head: Head) -> int:
        """Live instances that have applied everything up to `head`."""
        return sum(n for at, n in self._at.items() if at >= head)

    def laggards(self, at: float, head: Head | None = None) -> list[Seen]:
        """Live instances behind `head` (default: all that is older than LAGGING_S), furthest behind first."""
        target = head or self.expected(at)
        behind = [self.instances[name] for name in self._live if self.instances[name].head < target]
        return sorted(behind, key=lambda seen: (seen.head, seen.instance))

    def expected(self, at: float) -> Head:
        """What every live instance should have applied; Head() while we do not know.

        Not simply the head: with a commit every few seconds nobody would ever lag.
        """
        while self._fresh and self._fresh[0][0] <= at - LAGGING_S:
            self._due = max(self._due, self._fresh.popleft()[1])
        return self._due

    def older(self, level: int) -> list[str]:
        """Live instances that cannot read what schema level `level` brought, by name."""
        return sorted(name for name in self._live if self.instances[name].schema_level < level)

    def revisions(self) -> list[tuple[Head, int]]:
        """How many live instances are at which head, newest first."""
        return sorted(self._at.items(), reverse=True)

    def states(self) -> dict[str, int]:
        return dict(Counter(self.instances[name].state for name in self._live))

    def convergence(self, revision: int | None = None) -> Convergence | None:
        """Of a commit followed here, the latest by default."""
        for head in reversed(self._tracked):
            if revision in (None, head.revision):
                return self._tracked[head].convergence
        for done in reversed(self._done):
            if revision in (None, done.revision):
                return done
        return None

    def take_touched(self) -> list[Seen]:
        """Instances heard of since the last call, to be written down."""
        found = [self.instances[name] for name in self._touched if name in self.instances]
        self._touched.clear()
        return found

    def convergences(self) -> list[Convergence]:
        """What is being followed, and what was since the last `forget_done`."""
        return [*self._done, *(tracked.convergence for tracked in self._tracked.values())]

    def forget_done(self, keep: int = 50) -> None:
        del self._done[:-keep]
