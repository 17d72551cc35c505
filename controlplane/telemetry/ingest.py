"""Telemetry in: replicas share the messages in a queue group and fold them, each exactly once (ADR 0071).

A message waits at most `FLUSH_S` in memory. Dying with it loses nothing: the instance's next one contains it. Only the
last message of an instance that ends has no next one, so that one asks for an answer, and gets it after the commit.
"""

import asyncio
import contextlib
from collections import defaultdict

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from brownout.telemetry_units import SAMPLE
from brownout.telemetry_wire import ENCODER, TelemetryMessage, decode
from controlplane.background import beat
from controlplane.clock import Clock
from controlplane.database import Database
from controlplane.errors import UnavailableError
from controlplane.telemetry import series, tables
from controlplane.telemetry.exported import Exported
from controlplane.telemetry.flag_use import Fresh
from controlplane.telemetry.fold import Counted, Position, latest

log = structlog.get_logger(__name__)

FLUSH_S = 2.0
FOLD_S = 1.0
"""How long Postgres may take for all that waits."""
MAX_WAITING = 20_000
"""Messages kept while Postgres does not answer; the oldest instance's is dropped first, and comes again by itself."""

SUBJECT = "bot.*.*.*.m"
QUEUE = "telemetry"


class Ingest:
    """`receive` takes messages, `run` folds them every FLUSH_S until cancelled, then once more."""

    def __init__(self, database: Database, clock: Clock, exported: Exported | None = None) -> None:
        self._database = database
        self._clock = clock
        self._waiting: dict[str, dict[Position, TelemetryMessage]] = defaultdict(dict)
        self._replies: dict[str, list[Msg]] = defaultdict(list)
        self._urgent = asyncio.Event()
        self._partitions: set[str] = set()
        self._fresh = Fresh()
        self.exported = exported or Exported()
        self.received = 0
        self.refused = 0
        self.folded = 0
        self.failing = ""
        """Why messages could not be folded the last time; empty when they could."""

    async def receive(self, message: Msg) -> None:
        """Handler for `SUBJECT`; the subject, not the payload, says which instance speaks."""
        self.received += 1
        _, environment, _, instance, _ = message.subject.split(".", 4)
        try:
            decoded = decode(message.data)
        except msgspec.DecodeError as error:
            self.refused += 1
            log.info("telemetry_refused", environment=environment, instance=instance, error=str(error))
            return
        if decoded.instance != instance:
            self.refused += 1
            return
        self.add(environment, decoded)
        if message.reply:
            self._replies[environment].append(message)
            self._urgent.set()

    def add(self, environment: str, message: TelemetryMessage) -> None:
        """Keeps the newest message of each instance until the next flush."""
        waiting = self._waiting[environment]
        position = Position(message.instance, message.start)
        known = waiting.get(position)
        if known is None or known.sequence < message.sequence:
            waiting[position] = message
        if len(waiting) > MAX_WAITING:
            del waiting[next(iter(waiting))]

    async def run(self) -> None:
        try:
            while True:
                beat("telemetry.ingest", FLUSH_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH_S):
                        await self._urgent.wait()
                self._urgent.clear()
                beat("telemetry.ingest", FOLD_S)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Folds what waits; what cannot be written now waits for the next time."""
        for environment in [name for name, waiting in self._waiting.items() if waiting]:
            messages = self._waiting.pop(environment)
            replies = self._replies.pop(environment, [])
            try:
                await self._fold(environment, messages)
            except UnavailableError as error:
                log.warning("telemetry_waits", environment=environment, messages=len(messages), error=error.message)
                for message in messages.values():
                    self.add(environment, message)
                self.failing = error.message
                continue
            self.failing = ""
            self.folded += len(messages)
            for message_ in replies:
                with contextlib.suppress(NatsError, OSError):
                    await message_.respond(b"+")

    async def _fold(self, environment: str, messages: dict[Position, TelemetryMessage]) -> None:
        """One transaction: what is new since the cursors goes into the rollups, and the cursors move."""
        now = self._clock.now()
        await self._ensure_partition()
        async with self._database.transaction() as connection:
            await tables.lock_folding(connection, environment)
            before = await tables.cursors(connection, environment, messages.keys())
            counted = Counted()
            newer: list[tuple[Position, int, bytes]] = []
            for position, message in latest(messages.values()).items():
                known = before.get(position)
                if known is not None and known.sequence >= message.sequence:
                    continue
                counted.add(message, known)
                newer.append((position, message.sequence, ENCODER.encode(message)))
            if not newer:
                return
            for arm, measures in (await tables.add_bad_units(connection, environment, counted.bad_units, now)).items():
                for measure in measures:
                    counted.arms[arm].bad[measure] += 1
            await tables.add_sample(connection, environment, counted.sample, SAMPLE, now)
            wanted = series.keys(counted, now)
            if wanted:
                present = await tables.rollups(connection, environment, wanted)
                await tables.put_rollups(connection, environment, series.merge(counted, present, now))
            at, served = self._fresh.new(environment, counted.evaluations, now)
            if served:
                await tables.put_flag_uses(connection, environment, served, at)
            await tables.advance_cursors(connection, environment, newer, now)
        self._fresh.written(environment, served)
        self.exported.add(environment, counted)

    async def _ensure_partition(self) -> None:
        day = f"{self._clock.now():%Y%m%d}"
        if day not in self._partitions:
            async with self._database.transaction() as connection:
                await tables.make_partition(connection, self._clock.now())
            self._partitions = {day}
