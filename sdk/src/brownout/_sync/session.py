"""One connection's life: subscribe first, then catch up from the streams, then stay caught up until it is lost."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from brownout import wire
from brownout._sync.chance import spread
from brownout._sync.connection import Connection
from brownout._sync.direct import DirectGet, NotAnsweredError
from brownout._sync.lessee import Lessee
from brownout._sync.replica import Need, Outcome, Replica, SnapshotRefusedError
from brownout._sync.reporter import Collect, Reporter
from brownout._sync.waiting import happens
from brownout.status import SyncState
from brownout.wire.bundle import Signed

if TYPE_CHECKING:
    from brownout._sync.progress import Progress
    from brownout.config import Config
    from brownout.telemetry.windows import Windows

SILENCE = 3.5
"""Heartbeat intervals without a heartbeat until we ask by ourselves."""

_BATCH = 500
_ANSWER_S = 2
_RETRY_S = (0.05, 1.0)
_KEYS_EVERY_S = 5.0
_TAIL = (200, 400)
"""A newer snapshot replaces this many revisions of evidence; each instance picks a number, so that they do not act as one."""


class BehindError(Exception):
    """The streams do not have yet what we know to exist."""


class Session:
    def __init__(
        self, config: "Config", instance: str, replica: Replica, progress: "Progress", collect: Collect,
        *, windows: "Windows | None" = None,
    ) -> None:  # fmt: skip
        self._config = config
        self._replica = replica
        self._progress = progress
        self._collect = collect
        self._subjects = wire.Subjects(config.environment)
        self._kick = asyncio.Event()
        self._connection = Connection(config, instance, self._kick.set)
        self._direct = DirectGet(self._connection.client, config.domain, _ANSWER_S)
        self._reporter = Reporter(config, instance, self._connection, replica, progress)
        self._lessee = Lessee(config, instance, self._connection, windows) if windows else None
        self._heard_at = 0.0
        self._keys_at = float("-inf")
        self._keys_wanted = False
        self._rebase_at = spread.randint(*_TAIL)
        self.was_live = False

    @property
    def last_error(self) -> str:
        """What the server said."""
        return self._connection.last_error

    async def run(self, url: str) -> None:
        """Returns when the connection is lost. Raises what connecting raises."""
        others: list[asyncio.Task[None]] = []
        try:
            self._progress.enter(SyncState.CONNECTING)
            await self._connection.open(url)
            await self._connection.subscribe(self._subjects.log, self._on_log)
            await self._connection.subscribe(self._subjects.heartbeat, self._on_heartbeat)
            await self._connection.subscribe(self._subjects.emergency, self._on_emergency)
            others.append(asyncio.create_task(self._reporter.run(self._collect)))
            if self._lessee is not None:
                others.append(asyncio.create_task(self._lessee.run()))
            await self._stay_caught_up()
        finally:
            for task in others:
                task.cancel()
            await self._connection.close()

    async def farewell(self) -> None:
        """Tells the control plane that this instance ends on purpose."""
        if self._connection.is_open:
            await self._reporter.farewell(self._collect)

    async def listen(self) -> None:
        """Returns when everything the server had sent before has been taken."""
        if self._connection.is_open:
            await self._connection.answers(_ANSWER_S)
            await asyncio.sleep(0)

    async def _stay_caught_up(self) -> None:
        self._heard_at = time.monotonic()
        self._kick.set()
        retry_s = _RETRY_S[0]
        self._progress.enter(SyncState.SYNC)
        while not self._connection.lost.is_set():
            await self._wait()
            silent = time.monotonic() - self._heard_at > self._patience_s
            if self._connection.lost.is_set() or not (silent or self._kick.is_set()):
                continue
            self._kick.clear()
            try:
                await self._catch_up()
                retry_s = _RETRY_S[0]
                self._heard_at = time.monotonic()
            except (NotAnsweredError, BehindError, SnapshotRefusedError, wire.UnknownKeyError, TimeoutError) as error:
                said = self._connection.last_error  # "permissions violation" says more than that nobody answered
                self._progress.fail(said or error)
                self._progress.enter(SyncState.SUSPECT if self._replica.revision >= 0 else SyncState.SYNC)
                if isinstance(error, NotAnsweredError) and (silent or not await self._connection.answers(_ANSWER_S)):
                    return
                await happens(self._connection.lost, spread.random() * retry_s)
                retry_s = min(retry_s * 2, _RETRY_S[1])
                self._kick.set()

    @property
    def _patience_s(self) -> float:
        return SILENCE * self._replica.heartbeat_interval_s

    async def _wait(self) -> None:
        """Until something is to be done: a kick, the end of the connection, or too long a silence."""
        left = self._heard_at + self._patience_s - time.monotonic()
        await happens(self._kick, max(left, 0.01))

    async def _catch_up(self) -> None:
        """Raises NotAnsweredError, BehindError or SnapshotRefusedError while the streams cannot lead to the head."""
        if self._keys_wanted:
            await self._learn_keys()
        if self._replica.need is Need.SNAPSHOT:
            await self._snapshot()
        await self._fill()
        if self._replica.need is not Need.NOTHING:
            raise BehindError(f"revision {self._replica.revision} is held, and more is known to exist")
        self._progress.vouched()
        self.was_live = True
        self._progress.enter(SyncState.LIVE)
        if self._replica.tail_length > self._rebase_at:
            await self._rebase()

    async def _fill(self) -> None:
        """Reads the log from the head held to its end."""
        start = max(self._replica.revision, 1)
        while True:
            stored, more = await self._direct.batch(self._subjects.log_stream, self._subjects.log_write, start, _BATCH)
            cut = bool(stored) and stored[0].sequence > self._replica.revision + 1
            if not cut:
                await self._take([item.message for item in stored])
            if cut or self._replica.need is Need.SNAPSHOT:
                await self._snapshot()
                start = max(self._replica.revision, 1)
            elif not more:
                self._replica.filled()
                return
            elif self._replica.revision + 1 == start:
                raise BehindError(f"revision {start} in the log cannot be applied")
            else:
                start = self._replica.revision + 1

    async def _take(self, messages: list[Signed]) -> None:
        applied = 0
        while messages:
            taken = self._replica.offer_all(messages, logged=True)
            applied += taken.applied
            learned = taken.outcome is Outcome.UNKNOWN_KEY and await self._learn_keys()
            messages = messages[taken.looked_at - learned :]
        self._replica.counters.fills += applied
        if applied:
            self._applied()

    async def _snapshot(self) -> None:
        held = self._replica.chain
        self._replica.restore(*await self._fetch_snapshot(self._replica.open_manifest))
        if self._replica.chain == held and self._replica.revision > 0:
            raise BehindError(f"there is no snapshot newer than revision {self._replica.revision} yet")
        self._applied()

    async def _fetch_snapshot(self, opened: Callable[[Signed], wire.Manifest]) -> tuple[Signed, list[bytes]]:
        """The newest snapshot, when `opened` lets its manifest pass."""
        stream = self._subjects.snapshot_stream
        message = await self._direct.last(stream, self._subjects.manifest)
        if message is None:
            raise BehindError("no snapshot has been published yet")
        try:
            manifest = opened(message)
        except wire.UnknownKeyError:
            await self._learn_keys()
            manifest = opened(message)
        chunks: list[bytes] = []
        at, more = manifest.seq, 1
        while more and len(chunks) < manifest.n:
            subject = self._subjects.chunks_of(manifest.sid)
            stored, more = await self._direct.batch(stream, subject, at, manifest.n - len(chunks))
            if not stored:
                break
            chunks.extend(item.message.payload for item in stored)
            at = stored[-1].sequence + 1
        return message, chunks

    async def _rebase(self) -> None:
        self._rebase_at += self._replica.tail_length
        with contextlib.suppress(NotAnsweredError, BehindError, SnapshotRefusedError, wire.UnknownKeyError):
            self._replica.rebase(*await self._fetch_snapshot(self._replica.open_evidence))
            self._rebase_at = spread.randint(*_TAIL)

    async def _learn_keys(self) -> bool:
        """Fetches the key chain, at most once in five seconds: anybody can name keys that do not exist."""
        if time.monotonic() - self._keys_at < _KEYS_EVERY_S:
            return False
        self._keys_at = time.monotonic()
        self._keys_wanted = False
        message = await self._direct.last(self._subjects.snapshot_stream, self._subjects.keys)
        return message is not None and self._replica.learn(message.payload) > 0

    def _on_log(self, message: Signed) -> None:
        outcome = self._replica.offer(message)
        if outcome is Outcome.APPLIED:
            self._applied()
            self._reporter.ahead = False
            if self._replica.tail_length > self._rebase_at:
                self._kick.set()
        else:
            self._look_into(outcome)

    def _on_heartbeat(self, message: Signed) -> None:
        interval_s = self._replica.heartbeat_interval_s
        outcome = self._replica.hear(message)
        if self._replica.heartbeat_interval_s != interval_s:
            self._kick.set()  # whoever waits has the wrong patience
        if outcome not in {Outcome.DROPPED, Outcome.UNKNOWN_KEY}:
            self._heard_at = time.monotonic()
        if outcome is Outcome.CONFIRMS:
            self._reporter.ahead = False
            self._progress.vouched()
            if self._progress.sync is not SyncState.LIVE:
                self._kick.set()
        elif outcome is Outcome.AHEAD:
            self._reporter.ahead = True
            self._reporter.soon()
        else:
            self._look_into(outcome)

    def _on_emergency(self, message: Signed) -> None:
        outcome = self._replica.hear_emergency(message)
        if outcome is Outcome.APPLIED:
            self._reporter.soon()
        elif outcome is Outcome.UNKNOWN_KEY:
            self._look_into(outcome)  # it comes again with the next heartbeat

    def _look_into(self, outcome: Outcome) -> None:
        if outcome is Outcome.UNKNOWN_KEY and time.monotonic() - self._keys_at >= _KEYS_EVERY_S:
            self._keys_wanted = True
        if outcome is Outcome.BEHIND or self._keys_wanted:
            self._kick.set()

    def _applied(self) -> None:
        self._progress.applied()
        self._progress.vouched()
        self._reporter.soon()
