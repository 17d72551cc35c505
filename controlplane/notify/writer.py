"""Where events begin: written with what caused them, in its transaction; or told at once when Postgres is away."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from controlplane.access.values import Entry
from controlplane.configuration.store.values import Commit
from controlplane.kit.apart import Turn, set_aside
from controlplane.kit.background import words
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, WriteConnection
from controlplane.notify.causes import of_commit, of_entry
from controlplane.notify.events import NewEvent, new_event
from controlplane.notify.queries import outbox

log = structlog.get_logger(__name__)

UNKEPT = 100
"""Events that wait in memory for Postgres to come back."""

SendNow = Callable[[NewEvent], Awaitable[list[str]]]
"""Tells the channels that are known without Postgres; returns those that took it."""

CHECK = "channels"
"""The health check of channels, of which channels themselves tell."""


class EventWriter:
    """`tell` is the `notify` of every other capability."""

    def __init__(self, database: Database, clock: Clock, send_now: SendNow) -> None:
        self._database = database
        self._clock = clock
        self._send_now = send_now
        self._unkept: deque[tuple[NewEvent, list[str]]] = deque(maxlen=UNKEPT)
        self._sending: set[asyncio.Task[None]] = set()
        self.woken = asyncio.Event()

    async def tell(self, event: str, fields: dict[str, str], connection: WriteConnection | None = None) -> None:
        """Never holds anything up. Within `connection`'s transaction it raises what any statement there raises; alone
        it raises nothing: what Postgres cannot keep, perhaps because that is the news, is sent at once, and kept later."""
        log.warning(event, **fields)
        if event.startswith("health_") and fields.get("check") == CHECK:
            return
        made = new_event(event, fields)
        if connection is not None:
            await self.write(connection, [made])
            return
        try:
            async with self._database.transaction() as own:
                await self.write(own, [made])
        except Exception as error:  # noqa: BLE001 - what is told must not fail because it is told
            log.error("event_not_kept", kind=event, error=words(error))
            task = asyncio.create_task(self._send(made))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def write(
        self, connection: WriteConnection, events: Iterable[NewEvent], *, taken: Sequence[str] = ()
    ) -> None:
        for event in events:
            await outbox.put(connection, event, self._clock.now(), taken=taken)
            self.woken.set()

    async def committed(self, connection: WriteConnection, commit: Commit) -> None:
        """The witness of every commit."""
        try:
            events = of_commit(commit)
        except Exception as error:  # noqa: BLE001 - no commit fails because of how it would be told
            set_aside("notifications", f"{commit.environment} r{commit.revision}", error)
            return
        await self.write(connection, events)

    async def audited(self, connection: WriteConnection, entry: Entry) -> None:
        """The witness of every entry in the audit log."""
        try:
            events = of_entry(entry)
        except Exception as error:  # noqa: BLE001 - as above
            set_aside("notifications", f"audit {entry.event}", error)
            return
        await self.write(connection, events)

    async def keep_unkept(self) -> str:
        """Returns which could not be kept, and why; empty when all were. Those are gone: the log has them.

        Raises:
            UnavailableError: Postgres is still away.
        """
        turn = Turn("notifications")
        while self._unkept:
            event, taken = self._unkept[0]
            with turn.item(event.kind):
                async with self._database.transaction() as connection:
                    await self.write(connection, [event], taken=taken)
            self._unkept.popleft()
        return turn.trouble

    async def settled(self) -> None:
        """Returns when what is being sent without Postgres has been tried."""
        await asyncio.gather(*self._sending)

    async def _send(self, event: NewEvent) -> None:
        self._unkept.append((event, await self._send_now(event)))
