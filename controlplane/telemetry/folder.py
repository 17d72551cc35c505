"""Folds one batch of one SDK key's messages in one transaction. Arithmetic runs in a thread, off the event loop."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from brownout.wire.telemetry import ArmKey, TelemetryMessage, decode, encode
from controlplane.kit.apart import apart
from controlplane.kit.database import Database, WriteConnection
from controlplane.telemetry import arm_tables, series, tables, unit_tables
from controlplane.telemetry.admission import Admission, Kind, Place, limited, names
from controlplane.telemetry.arm_tables import EvidenceRow
from controlplane.telemetry.boundary import RefusedError, Speaker, read_message
from controlplane.telemetry.exported import Exported
from controlplane.telemetry.flag_use import Fresh
from controlplane.telemetry.fold import Counted, Position
from controlplane.telemetry.inbox import Waiting
from controlplane.telemetry.quotas import STARTS_PER_INSTANCE, Quotas
from controlplane.telemetry.unit_tables import EVERY_KEY, Sample

log = structlog.get_logger(__name__)

IDLE = timedelta(hours=2)
"""An instance that lives reports every hour at least (brownout.telemetry_client)."""

Refuse = Callable[[Speaker, RefusedError], None]


class Read(NamedTuple):
    waiting: Waiting
    message: TelemetryMessage


Refused = list[tuple[Read, RefusedError]]


class Fold(NamedTuple):
    """What a batch adds: its counts, the cursors that move, evidence by instance, and what was refused."""

    counted: Counted
    moved: list[tuple[Position, int, bytes]]
    evidence: list[EvidenceRow]
    refused: Refused


class Written(NamedTuple):
    """What is remembered once it is committed."""

    counted: Counted
    admitted: Mapping[Kind, set[int]]
    served: list[tuple[str, str]]


class Folder:
    """`folded` counts messages that are in the database."""

    def __init__(
        self, database: Database, now: Callable[[], datetime], quotas: Quotas, exported: Exported, refuse: Refuse
    ) -> None:
        self._database = database
        self._now = now
        self._quotas = quotas
        self._exported = exported
        self._refuse = refuse
        self._admission = Admission(quotas)
        self._partitions: set[str] = set()
        self._fresh = Fresh()
        self.folded = 0

    async def fold(self, environment: str, key: str, batch: Sequence[Waiting]) -> None:
        """Tells whoever asked once it is committed.

        Raises:
            UnavailableError: Postgres does not answer; what of the batch is not folded can be tried again.
        """
        read, refused = await asyncio.to_thread(_read, batch)
        for speaker, error in refused:
            self._refuse(speaker, error)
        place = Place(environment, key)

        async def fold_some(some: Sequence[Read]) -> None:
            refused = await self._fold(place, some)
            for one, error in refused:
                self._refuse(one.waiting.speaker, error)
            aside = {one.waiting.position for one, _ in refused}
            self.folded += len(some) - len(aside)
            for one in some:
                for asker in one.waiting.asks if one.waiting.position not in aside else ():
                    await asker.acknowledge()

        await apart(read, fold_some, self._set_aside)

    def _set_aside(self, one: Read, error: Exception) -> None:
        refused = error if isinstance(error, RefusedError) else RefusedError("not_stored", type(error).__name__)
        self._refuse(one.waiting.speaker, refused)

    async def _fold(self, place: Place, batch: Sequence[Read]) -> Refused:
        """One transaction: what is new since the cursors goes into the rollups, and the cursors move."""
        now = self._now()
        await self._ensure_partition(now)
        async with self._database.transaction() as connection:
            await tables.lock_folding(connection, place.environment)
            before = await tables.cursors(connection, place.environment, [one.waiting.position for one in batch])
            fitting, refused = await self._known_or_new(connection, place, batch, before, now)
            fold = await asyncio.to_thread(_fold, fitting, before)
            written = await self._write(connection, place, fold, now) if fold.moved else None
        if written is not None:
            self._admission.committed(place, written.admitted, now.date())
            self._fresh.written(place.environment, written.served)
            self._exported.add(place.environment, written.counted)
        return refused + fold.refused

    async def _known_or_new(
        self,
        connection: WriteConnection,
        place: Place,
        batch: Sequence[Read],
        before: Mapping[Position, bytes],
        now: datetime,
    ) -> tuple[list[Read], Refused]:
        """Those of `batch` that go on counting, and as many that begin to as the key has room for; the others."""
        going_on = [one for one in batch if one.waiting.position in before]
        new = [one for one in batch if one.waiting.position not in before]
        if not new:
            return going_on, []
        starts = await tables.starts(connection, *place, {one.waiting.speaker.instance for one in new})
        fitting: list[Read] = []
        refused: Refused = []
        for one in new:
            instance = one.waiting.speaker.instance
            starts[instance] = starts.get(instance, 0) + 1
            if starts[instance] > STARTS_PER_INSTANCE:
                refused.append((one, RefusedError("restarts", "too many counters under one name")))
            else:
                fitting.append(one)
        room = await tables.make_room(
            connection, *place, limit=self._quotas.instances, wanted=len(fitting), idle_since=now - IDLE
        )
        full = RefusedError("instances", "more instances than the key may have")
        return going_on + fitting[:room], refused + [(one, full) for one in fitting[room:]]

    async def _write(self, connection: WriteConnection, place: Place, fold: Fold, now: datetime) -> Written:
        environment, key = place
        used = await asyncio.to_thread(names, fold.counted)
        admitted = await self._admission.admit(connection, place, used, now.date())
        counted = await asyncio.to_thread(limited, fold.counted, used, admitted)
        rules = sorted({arm.rule for arm in counted.units})
        for rule in rules:
            found = {arm.variant: news for arm, news in counted.units.items() if arm.rule == rule}
            for whose in (EVERY_KEY, key):
                sample = Sample(environment, rule, whose)
                added = await unit_tables.add_units(connection, sample, counted.levels[rule], found, now)
                counted.arms |= {(rule, variant, whose): totals for variant, totals in added.items()}
        evidence = [row for row in fold.evidence if row.rule in rules]
        if evidence:
            await arm_tables.put_evidence(connection, environment, evidence, now)
        wanted = await asyncio.to_thread(series.keys, counted, now)
        if wanted:
            present = await tables.rollups(connection, environment, wanted)
            rows = await asyncio.to_thread(series.merge, counted, present, now)
            await tables.put_rollups(connection, environment, rows)
        at, served = self._fresh.new(environment, counted.evaluations, now)
        if served:
            await tables.put_flag_uses(connection, environment, served, at)
        await tables.advance_cursors(connection, environment, fold.moved, now)
        return Written(counted, admitted, served)

    async def _ensure_partition(self, now: datetime) -> None:
        day = f"{now:%Y%m%d}"
        if day not in self._partitions:
            async with self._database.transaction() as connection:
                await tables.make_partitions(connection, now)
            self._partitions = {day}


def _read(batch: Sequence[Waiting]) -> tuple[list[Read], list[tuple[Speaker, RefusedError]]]:
    read: list[Read] = []
    refused: list[tuple[Speaker, RefusedError]] = []
    for waiting in batch:
        try:
            read.append(Read(waiting, read_message(waiting.data)))
        except RefusedError as error:
            refused.append((waiting.speaker, error))
    return read, refused


def _fold(batch: Sequence[Read], before: Mapping[Position, bytes]) -> Fold:
    fold = Fold(Counted(), [], [], [])
    for one in batch:
        waiting, message = one
        encoded = before.get(waiting.position)
        known = decode(encoded) if encoded is not None else None
        if known is not None and known.sequence >= message.sequence:
            continue
        try:
            new = Counted.between(message, known)
        except RefusedError as error:
            fold.refused.append((one, error))
            continue
        fold.counted.add(new)
        fold.moved.append((waiting.position, message.sequence, encode(message)))
        fold.evidence.extend(_evidence(waiting.speaker, message, new.units.keys()))
    return fold


def _evidence(speaker: Speaker, message: TelemetryMessage, changed: Collection[ArmKey]) -> list[EvidenceRow]:
    rows = []
    for rule in dict.fromkeys(arm.rule for arm in changed):
        arms = {key.variant: arm.totals for key, arm in message.arms.items() if key.rule == rule}
        units = sum(totals.units for totals in arms.values())
        bad = sum(sum(totals.bad.values()) for totals in arms.values())
        rows.append(EvidenceRow(rule, speaker.key, speaker.instance, series.encode(arms), units, bad))
    return rows
