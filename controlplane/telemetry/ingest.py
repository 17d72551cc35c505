"""Telemetry in: replicas share the messages in a queue group and fold them, each exactly once (ADR 0071).

A message waits at most `FLUSH_S` in memory. Dying with it loses nothing: the instance's next one contains it. Only the
last message of an instance that ends has no next one, so that one asks for an answer, and gets it after the commit.
What an SDK key can do to others here is bounded by ADR 0075.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime

import structlog

from controlplane.errors import UnavailableError
from controlplane.kit.apart import apart, set_aside
from controlplane.kit.background import beat, words
from controlplane.kit.buckets import Buckets
from controlplane.kit.clock import Clock, Monotonic, monotonic
from controlplane.kit.database import Database
from controlplane.kit.link import Heard
from controlplane.telemetry import tables
from controlplane.telemetry.boundary import RefusedError, Speaker, read_opening
from controlplane.telemetry.exported import Exported
from controlplane.telemetry.folder import Folder
from controlplane.telemetry.inbox import Inbox
from controlplane.telemetry.posted import Posted
from controlplane.telemetry.quotas import Quotas
from controlplane.telemetry.refusals import Refusal, Refusals

log = structlog.get_logger(__name__)

FLUSH_S = 2.0
FOLD_S = 1.0
"""How long Postgres may take for all that waits."""
GATHER_S = 0.02
"""When an instance ends, others often end with it."""
FOLDED_AT_ONCE = 2
"""Environments. One that is slow, by its own flood, holds up its own only."""

SUBJECT = "bot.*.*.*.m"
QUEUE = "telemetry"


class Ingest:
    """`receive` takes messages, `run` folds them every FLUSH_S until cancelled, then once more."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        exported: Exported | None = None,
        quotas: Quotas | None = None,
        refusals: Refusals | None = None,
        *,
        monotonic: Monotonic = monotonic,
    ) -> None:
        quotas = quotas or Quotas()
        self._database = database
        self._clock = clock
        self._inbox = Inbox()
        self.posted = Posted()
        """What comes over HTTP instead."""
        self._urgent = asyncio.Event()
        self._buckets = Buckets(quotas.bytes_per_minute, quotas.bytes_per_minute, monotonic)
        self.exported = exported or Exported()
        self.refusals = refusals or Refusals()
        self._folder = Folder(database, self._now, quotas, self.exported, self._refuse)
        self._busy = asyncio.Semaphore(FOLDED_AT_ONCE)
        self.received = 0
        self._trouble = ""
        self.failing = ""
        """Why messages could not be folded the last time; empty when they could."""

    @property
    def folded(self) -> int:
        return self._folder.folded

    @property
    def refused(self) -> int:
        return self.refusals.total.total()

    async def receive(self, message: Heard) -> None:
        """Handler for `SUBJECT`; the subject, not the payload, says who speaks. Only reads how the message begins."""
        self.received += 1
        speaker = Speaker.of(message.subject)
        try:
            self.take(speaker, message.data, message if message.asks else None)
        except RefusedError as error:
            self._refuse(speaker, error)
            return
        if message.asks:
            self._urgent.set()

    def take(self, speaker: Speaker, data: bytes, asks: Heard | None = None) -> None:
        """Keeps the newest message of each instance until the next flush.

        Raises:
            RefusedError: it is no message of that speaker, or one too many of its key.
        """
        opening = read_opening(data, speaker)
        if not self._buckets.take((speaker.environment, speaker.key), len(data)):
            raise RefusedError("bytes_per_minute", "more than the key may send in a minute")
        self._inbox.put(speaker, opening, data, asks)

    async def run(self) -> None:
        try:
            while True:
                beat("telemetry.ingest", FLUSH_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH_S):
                        await self._urgent.wait()
                        await asyncio.sleep(GATHER_S)
                self._urgent.clear()
                beat("telemetry.ingest", FOLD_S)
                if await self._round():
                    self._urgent.set()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Folds all that waits; what cannot be written now waits for the next time."""
        self._take_posted(final=True)
        while await self._round():
            pass

    async def _round(self) -> bool:
        """Gives each key one turn; whether any of them is due another at once."""
        self._take_posted()
        before, self._trouble = self._folder.folded, ""
        due = await asyncio.gather(*(self._turns(environment) for environment in self._inbox.environments()))
        await self._write_refusals()
        if self._trouble or self._folder.folded > before:  # without anything to fold, nothing is known to work again
            self.failing = self._trouble
        return any(due)

    def _take_posted(self, *, final: bool = False) -> None:
        for speaker, data in self.posted.messages(final=final):
            try:
                self.take(speaker, data)
            except RefusedError as error:
                self._refuse(speaker, error)

    async def _turns(self, environment: str) -> bool:
        due = False
        async with self._busy:
            for key in self._inbox.keys(environment):
                batch = self._inbox.take(environment, key)
                left = self._inbox.waiting(environment, key) > 0
                try:
                    await self._folder.fold(environment, key, batch)
                    due |= left
                except UnavailableError as error:
                    log.warning("telemetry_waits", environment=environment, messages=len(batch), error=error.message)
                    for waiting in batch:
                        self._inbox.put_back(waiting)
                    self._trouble = words(error)
                except Exception as error:  # the next key's turn comes whatever this one's did
                    log.exception("telemetry_not_folded", environment=environment, key=key)
                    self._trouble = words(error)
                beat("telemetry.ingest", FOLD_S)
        return due

    async def _write_refusals(self) -> None:
        refusals, done = self.refusals.take(), 0

        async def write(some: Sequence[Refusal]) -> None:
            nonlocal done
            async with self._database.transaction() as connection:
                await tables.put_refused(connection, some)
            done += len(some)

        def put_aside(one: Refusal, error: Exception) -> None:
            nonlocal done
            done += 1
            set_aside("telemetry.ingest", f"refusal {one.environment}", error)

        try:
            await apart(refusals, write, put_aside)
        except UnavailableError as error:
            self.refusals.put_back(refusals[done:])
            self._trouble = words(error)

    def _now(self) -> datetime:
        return self._clock.now()

    def _refuse(self, speaker: Speaker, error: RefusedError) -> None:
        self.refusals.note(speaker, error, self._now())
