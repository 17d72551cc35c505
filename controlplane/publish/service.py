"""One publisher for every environment, in every replica."""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Literal

import structlog

from controlplane.errors import UnavailableError
from controlplane.kit.apart import Turn
from controlplane.kit.background import beat, keep_running, loops_here
from controlplane.kit.tasks import end, wait_set
from controlplane.publish.heads import Heads
from controlplane.publish.listen import listen
from controlplane.publish.parts import Pace, Position, Shared
from controlplane.publish.publisher import Published, Publisher, PublisherHealth

log = structlog.get_logger(__name__)

DISCOVER_S = 1.0
RESTART_S = 0.5
MAX_RESTART_S = 10.0
_COMMITTED = re.compile(r"([a-z0-9-]{1,40})(?: ([0-9]{1,18}))?", re.ASCII)
"""What a commit notifies of. Any role of the database can notify of anything."""

LATE_S = 1.5
"""So long a commit may be on its way before the check fails."""

Listener = Callable[[Published], None]


class PublisherService:
    """Follows the list of environments and keeps their publishers running. `run()` it beside the link's own `run()`."""

    def __init__(self, parts: Shared, pace: Pace = Pace()) -> None:  # noqa: B008 - immutable
        self._parts = parts
        self._pace = pace
        self._publishers: dict[str, Publisher] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._listeners: list[Listener] = []
        self._watchers: list[Callable[[str], None]] = []
        self._discover = asyncio.Event()
        self._heads = Heads()
        self._fleet: Callable[[str], int] = lambda _: 0

    def wake(self, environment: str, revision: int = 0) -> None:
        """Something was committed to `environment`; it is at `revision` now, when that is known."""
        self._heads.note(environment, revision)
        self._tell_watchers(environment)
        publisher = self._publishers.get(environment)
        if publisher:
            publisher.wake()
        else:
            self._discover.set()

    def on_commit(self, watcher: Callable[[str], None]) -> None:
        """`watcher(environment)` is told of every commit at least once, whichever replica made it.

        It must neither block nor raise, and may miss some while the connection is lost.
        """
        self._watchers.append(watcher)

    def on_published(self, listener: Listener) -> None:
        """`listener` is told of every revision this replica brought out. It must neither block nor raise."""
        self._listeners.append(listener)

    def count_fleet(self, live: Callable[[str], int]) -> None:
        """Heartbeats say from now on how many instances of an environment live, as `live(environment)` counts them."""
        self._fleet = live

    def _live(self, environment: str) -> int:
        return self._fleet(environment)

    def head(self, environment: str) -> Position | None:
        """What Postgres holds."""
        return self._heads.find(environment)

    def published(self, environment: str) -> Position | None:
        """What this replica knows to be in the log, or to have gone out over core NATS; None while it knows nothing."""
        publisher = self._publishers.get(environment)
        return publisher.position() if publisher else None

    def via(self, environment: str) -> Literal["log", "core"] | None:
        publisher = self._publishers.get(environment)
        return publisher.via if publisher else None

    @property
    def reachable(self) -> bool:
        """Whether news of publications can arrive at all."""
        return self._parts.link.connected

    def health(self) -> tuple[PublisherHealth, ...]:
        return tuple(
            publisher.health(head.revision if (head := self.head(key)) else 0)
            for key, publisher in self._publishers.items()
        )

    async def probe(self) -> dict[str, str]:
        return {f"publisher {key}": self._reason(key, publisher) for key, publisher in self._publishers.items()}

    def _reason(self, key: str, publisher: Publisher) -> str:
        if failing := publisher.health().failing:
            return failing
        head, published = self.head(key), publisher.position()
        late_s = self._heads.late(key, published)
        if head is None or late_s < LATE_S:
            return ""
        known = f"r{published.revision}" if published else "an unknown revision"
        return f"r{head.revision} is committed, but NATS has {known} only, for {late_s:.0f} s"

    async def run(self) -> None:
        """Runs until cancelled."""
        listen_forever = partial(listen, self._parts.database.url, self._notified, self._wake_all)
        listening = asyncio.create_task(keep_running("publisher.listen", listen_forever, loops_here()))
        try:
            while True:
                beat("publisher")
                trouble = await self._follow_environments()
                beat("publisher", DISCOVER_S, trouble)
                await wait_set(self._discover, DISCOVER_S)
                self._discover.clear()
        finally:
            await end(listening, *self._tasks.values())
            self._tasks.clear()
            self._publishers.clear()

    async def _follow_environments(self) -> str:
        """Returns which environment could not be followed, and why; empty when all are."""
        asked = asyncio.get_running_loop().time()
        try:
            found = await self._parts.store.list_environments()
        except UnavailableError:
            return ""
        turn = Turn("publisher")
        present = {environment.key for environment in found}
        for key, moved in self._heads.replace(found, asked):
            if moved:
                with turn.item(key):
                    self._tell_watchers(key)
        for key in present - self._tasks.keys():
            with turn.item(key):
                self._publishers[key] = self._make(key)
                work = keep_running(
                    f"publisher {key}", partial(self._publish, key), loops_here(),
                    pause_s=RESTART_S, longest_pause_s=MAX_RESTART_S,
                )  # fmt: skip
                self._tasks[key] = asyncio.create_task(work)
        for key in self._tasks.keys() - present:
            # Its streams stay: if this is a restored Postgres, they still serve its SDKs.
            log.warning("environment_gone", environment=key)
            del self._publishers[key]
            loops_here().ended(f"publisher {key}")
            await end(self._tasks.pop(key))
        return turn.trouble

    async def _publish(self, key: str) -> None:
        """A publisher that died is made anew: nothing that it remembers is trusted."""
        try:
            await self._publishers[key].run()
        except BaseException:
            if key in self._publishers:
                self._publishers[key] = self._make(key)
            raise

    def _make(self, key: str) -> Publisher:
        return Publisher(key, self._parts, self._pace, self._tell, fleet=self._live)

    def _notified(self, payload: str) -> None:
        with Turn("publisher").item("notification"):
            said = _COMMITTED.fullmatch(payload)
            if said is None:
                raise ValueError("not a notification of a commit")
            if self._heads.find(said[1]) is None:
                self._discover.set()
            else:
                self.wake(said[1], int(said[2] or 0))

    def _tell_watchers(self, environment: str) -> None:
        for watcher in self._watchers:
            watcher(environment)

    def _wake_all(self) -> None:
        for publisher in self._publishers.values():
            publisher.wake()
        self._discover.set()

    def _tell(self, published: Published) -> None:
        turn = Turn("publisher")
        for listener in self._listeners:
            with turn.item("listener"):
                listener(published)
