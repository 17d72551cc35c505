"""Brings one environment's revisions from Postgres to NATS.

Any number of replicas may do so at once: the log's sequence is the revision, so JetStream takes each exactly once and in
order, whoever is first. Nothing here needs a leader.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Literal

import msgspec
import structlog

from controlplane.configuration.store import StoredEnvelope
from controlplane.errors import NotFoundError, UnavailableError
from controlplane.kit.background import beat
from controlplane.kit.chance import spread
from controlplane.kit.jetstream import JetStream, JetStreamRefusedError, JetStreamUnavailableError
from controlplane.kit.link import Heard
from controlplane.kit.tasks import run_together, wait_set
from controlplane.publish import streams
from controlplane.publish.fallback import Fallback, until_reset
from controlplane.publish.heartbeat import Heartbeats
from controlplane.publish.keychain import KeyChainCopy
from controlplane.publish.log import LogMovedError, RevisionLog
from controlplane.publish.mend import Mender
from controlplane.publish.parts import Pace, Position, Shared
from controlplane.publish.sightings import Sightings
from controlplane.publish.snapshots import Snapshots
from controlplane.publish.trust import Trust

log = structlog.get_logger(__name__)

BATCH = 256
RETRY_S = 0.05
CONFLICT_S = 0.005
MEND_RETRY_S = 0.2
MEND_S = 30.0
"""A snapshot of a large environment, and a lost log filled again, take a while."""

ONLY_CORE = "JetStream does not answer: changes go out over core NATS only, and new SDKs cannot catch up"
UNREACHED = "there is no connection to NATS: changes wait in Postgres"


class Published(msgspec.Struct, frozen=True):
    """This replica was the first of its own accord to bring a revision out; another may report the same revision."""

    environment: str
    epoch: int
    revision: int
    at: datetime


class Counters(msgspec.Struct):
    """Since this publisher started."""

    appended: int = 0
    """Revisions that this replica appended to the log."""
    conflicts: int = 0
    """Appends for which another replica was first."""
    degradations: int = 0
    """Times that JetStream did not answer and core NATS took over."""
    recreated: int = 0
    """Logs made anew from Postgres."""
    strange: int = 0
    """Messages in the streams and on the subjects of the environment that were not ours."""
    fences: int = 0
    """Epochs opened because Postgres had been restored to an older point."""


class PublisherHealth(msgspec.Struct, frozen=True):
    """`published` is what SDKs can have, `lag` how many revisions Postgres is ahead; None while unknown.

    `failing` says why the last round did not bring everything into the log; empty when it did.
    """

    environment: str
    epoch: int | None
    published: int | None
    lag: int | None
    degraded: bool
    counters: Counters
    head: int = 0
    """What Postgres is known to hold."""
    failing: str = ""


class Publisher:
    def __init__(
        self, environment: str, parts: Shared, pace: Pace, on_published: Callable[[Published], None], *,
        fleet: Callable[[str], int] = lambda _: 0,
    ) -> None:  # fmt: skip
        self.environment = environment
        self._link = parts.link
        self._store = parts.store
        self._clock = parts.clock
        self._pace = pace
        self._on_published = on_published
        jetstream = JetStream(parts.link)
        self._log = RevisionLog(environment, jetstream, pace.replicas)
        self._trust = Trust(environment, parts.keys)
        self._snapshots = Snapshots(environment, jetstream, parts.store, self._trust, pace.replicas)
        self._key_chain = KeyChainCopy(environment, jetstream, parts.keys, self._trust)
        self._mender = Mender(environment, parts, self._log, self._snapshots, self._trust)
        self._fallback = Fallback(environment, parts.link, parts.store, self._announce)
        self._heartbeats = Heartbeats(environment, parts, self.position, pace.heartbeat_s, self._trust, fleet=fleet)
        self._sightings = Sightings(environment, parts, self.position, self.wake, self._trust)
        self._logged: Position | None = None
        self._head = 0
        self._announced = Position(0, 0)
        self._wake = asyncio.Event()
        self._audit_at = 0.0
        self._settings_at = 0.0
        self._changes = 0
        self._counters = Counters()
        self._snapshot_due = asyncio.Event()
        self._link = parts.link
        self._loop = f"publisher {environment}.log"
        self._failing = ""

    def wake(self) -> None:
        """Something was committed, or seen that needs a look."""
        self._wake.set()
        self._fallback.wake()

    def position(self) -> Position | None:
        """What SDKs can have by now."""
        if self._logged is None:
            return None
        return max(self._logged, self._fallback.sent)

    @property
    def via(self) -> Literal["log", "core"] | None:
        """What carried `position()`: the log, or core NATS while the log could not be written."""
        if self._logged is None:
            return None
        return "log" if self._logged >= self._fallback.sent else "core"

    def health(self, head: int = 0) -> PublisherHealth:
        """`head`: what Postgres is known to hold."""
        position, head = self.position(), max(head, self._head)
        return PublisherHealth(
            self.environment,
            position.epoch if position else None,
            position.revision if position else None,
            max(0, head - position.revision) if position else None,
            self._fallback.active,
            msgspec.structs.replace(self._counters, strange=self._trust.strange + self._snapshots.strange),
            head,
            self._failing,
        )

    async def run(self) -> None:
        """Publishes until cancelled. Outages are ridden out here; anything else is raised."""
        await self._sightings.subscribe()
        changes = [
            await self._link.subscribe(subject, self._on_change) for subject in streams.changes(self.environment)
        ]
        try:
            await run_together(
                self._publish_forever(), self._keep_snapshot_fresh(), self._fallback.run(), self._heartbeats.run()
            )
        finally:
            self._sightings.unsubscribe()
            for subscription in changes:
                self._link.unsubscribe(subscription)

    async def _on_change(self, message: Heard) -> None:
        """The server says that a stream of ours was changed or deleted: look at all of them at once."""
        log.debug("stream_changed", environment=self.environment, advisory=message.subject)
        self._changes += 1
        self._settings_at = self._audit_at = 0.0
        self.wake()

    async def _publish_forever(self) -> None:
        while True:
            beat(self._loop)
            wait_s = await self._round()
            beat(self._loop, wait_s)
            await wait_set(self._wake, wait_s)

    async def _round(self) -> float:
        """Does what there is to do; returns how long to wait for more."""
        self._wake.clear()
        try:
            await self._reconcile()
        except JetStreamUnavailableError as error:
            self._degrade(error)
            return RETRY_S
        except LogMovedError:
            self._counters.conflicts += 1
            self._audit_at = 0
            return CONFLICT_S
        except JetStreamRefusedError as error:
            log.error("jetstream_refused", environment=self.environment, error=str(error))
            self._failing = f"JetStream refused: {error}"
            self._audit_at = 0
            return self._pace.poll_s
        except (UnavailableError, NotFoundError) as error:
            log.debug("database_unavailable", environment=self.environment, error=str(error))
            return self._pace.poll_s
        self._fallback.stop()
        self._failing = ""
        return self._pace.poll_s

    def _degrade(self, error: JetStreamUnavailableError) -> None:
        if not self._fallback.active:
            self._counters.degradations += 1
            log.warning("jetstream_unavailable", environment=self.environment, error=str(error))
        connected = self._link.connected
        self._failing = ONLY_CORE if connected else UNREACHED
        self._audit_at = 0
        self._fallback.start(self._logged.revision if self._logged else None)

    async def _reconcile(self) -> None:
        if self._sightings.pending or asyncio.get_running_loop().time() >= self._audit_at:
            await self._audit()
        while self._logged is not None:
            rows = await self._store.envelopes(self.environment, self._logged.revision, BATCH)
            if not rows:
                break
            self._head = max(self._head, rows[-1].revision)
            beat(self._loop)
            await self._publish(rows)
        if self._logged and self._snapshots.due(*self._logged):
            self._snapshot_due.set()

    async def _audit(self) -> None:
        """Compares the log with Postgres, and mends it when it is not Postgres's."""
        now = asyncio.get_running_loop().time()
        changes = self._changes
        if now >= self._settings_at:
            await self._log.correct()
            await self._snapshots.adopt()
            await self._key_chain.refresh()
            await self._snapshots.inspect()
            self._settings_at = now + self._pace.settings_s if changes == self._changes else 0.0
        self._logged = None if self._sightings.pending else await self._mender.find_end()
        if self._logged is None:
            await self._mend()
        if self._logged is not None:
            self._head = max(self._head, self._logged.revision)
            self._audit_at = now + self._pace.poll_s if changes == self._changes else 0.0

    async def _mend(self) -> None:
        beat(self._loop, MEND_S)
        mended = await self._mender.mend(self._sightings.take())
        if mended is None:
            await asyncio.sleep(MEND_RETRY_S)
            return
        self._logged = mended.logged
        self._counters.fences += mended.fenced
        self._counters.recreated += mended.recreated
        await self._key_chain.refresh()

    async def _publish(self, rows: Sequence[StoredEnvelope]) -> None:
        """Appends what `rows` begin with: ordinary revisions, or one reset after its snapshot."""
        assert self._logged is not None
        if rows[0].revision != self._logged.revision + 1:
            self._audit_at = 0
            raise LogMovedError(f"{rows[0].revision} does not follow {self._logged.revision}")
        batch = rows[:1] if rows[0].reset else until_reset(rows)
        for envelope in batch:
            await self._key_chain.ensure(envelope.signature)
        if batch[0].reset and not await self._snapshots.ensure(batch[0].epoch, batch[0].revision):
            raise LogMovedError(f"there is no snapshot of {batch[0].revision} yet")
        async with aclosing(self._log.append(batch)) as appended:
            async for envelope, ours in appended:
                self._logged = Position(envelope.epoch, envelope.revision)
                if ours:
                    self._counters.appended += 1
                    self._announce(envelope)
        if batch[0].reset:
            self._heartbeats.hasten()

    async def _keep_snapshot_fresh(self) -> None:
        """Beside the publishing, which a large snapshot must not hold up."""
        while True:
            beat(f"publisher {self.environment}.snapshot", math.inf)
            await self._snapshot_due.wait()
            self._snapshot_due.clear()
            beat(f"publisher {self.environment}.snapshot", MEND_S)
            position = self._logged
            try:
                if position:
                    await self._snapshots.refresh(*position)
            except (JetStreamUnavailableError, JetStreamRefusedError, UnavailableError, NotFoundError) as error:
                log.debug("snapshot_failed", environment=self.environment, error=str(error))
            await asyncio.sleep(spread.random())  # replicas take turns

    def _announce(self, envelope: StoredEnvelope) -> None:
        if (position := Position(envelope.epoch, envelope.revision)) > self._announced:
            self._announced = position
            at = self._clock.now()
            self._on_published(Published(self.environment, envelope.epoch, envelope.revision, at))
