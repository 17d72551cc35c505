"""One publisher for every environment, in every replica."""

import asyncio
from collections.abc import Callable

import structlog

from controlplane.errors import UnavailableError
from controlplane.publish.listen import listen
from controlplane.publish.parts import Pace, Parts
from controlplane.publish.publisher import Published, Publisher, PublisherHealth
from controlplane.tasks import end, wait_set

log = structlog.get_logger(__name__)

DISCOVER_S = 1.0
RESTART_S = 0.5
MAX_RESTART_S = 10.0

Listener = Callable[[Published], None]


class PublisherService:
    """Follows the list of environments and keeps their publishers running. `run()` it beside the link's own `run()`."""

    def __init__(self, parts: Parts, pace: Pace = Pace()) -> None:  # noqa: B008 - immutable
        self._parts = parts
        self._pace = pace
        self._publishers: dict[str, Publisher] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._listeners: list[Listener] = []
        self._watchers: list[Callable[[str], None]] = []
        self._discover = asyncio.Event()

    def wake(self, environment: str) -> None:
        """Something was committed to `environment`."""
        for watcher in self._watchers:
            watcher(environment)
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

    def health(self) -> tuple[PublisherHealth, ...]:
        return tuple(publisher.health() for publisher in self._publishers.values())

    async def run(self) -> None:
        """Runs until cancelled."""
        listening = asyncio.create_task(listen(self._parts.database.url, self.wake, self._wake_all))
        try:
            while True:
                await self._follow_environments()
                await wait_set(self._discover, DISCOVER_S)
                self._discover.clear()
        finally:
            await end(listening, *self._tasks.values())
            self._tasks.clear()
            self._publishers.clear()

    async def _follow_environments(self) -> None:
        try:
            present = {environment.key for environment in await self._parts.store.list_environments()}
        except UnavailableError:
            return
        for key in present - self._tasks.keys():
            self._publishers[key] = Publisher(key, self._parts, self._pace, self._tell)
            self._tasks[key] = asyncio.create_task(self._supervise(key))
        for key in self._tasks.keys() - present:
            # Its streams stay: if this is a restored Postgres, they still serve its SDKs.
            log.warning("environment_gone", environment=key)
            del self._publishers[key]
            await end(self._tasks.pop(key))

    async def _supervise(self, key: str) -> None:
        """A publisher that crashes is a bug; it is reported, and started again from nothing."""
        pause_s = RESTART_S
        while True:
            try:
                await self._publishers[key].run()
            except Exception:
                log.exception("publisher_crashed", environment=key)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, MAX_RESTART_S)
            self._publishers[key] = Publisher(key, self._parts, self._pace, self._tell)

    def _wake_all(self) -> None:
        for publisher in self._publishers.values():
            publisher.wake()
        self._discover.set()

    def _tell(self, published: Published) -> None:
        for listener in self._listeners:
            listener(published)
