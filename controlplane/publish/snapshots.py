"""Snapshots: the whole state of an environment as signed messages, for SDKs that start or fell too far behind."""

import asyncio
import re
from os import urandom
from typing import NamedTuple

import msgspec
import structlog

from brownout import wire
from controlplane.configuration import snapshot as packed
from controlplane.configuration.store import Store
from controlplane.kit.jetstream import STREAM_NOT_FOUND, JetStream, JetStreamRefusedError, Message, StreamState
from controlplane.publish import streams
from controlplane.publish.trust import Trust

log = structlog.get_logger(__name__)

_CHUNK = re.compile(r"\.snap\.c\.[^.]+\.[0-9]+$")

EVERY_REVISIONS = 200
CHUNK_TIMEOUT_S = 2.0


class Announced(NamedTuple):
    """A manifest and the stream sequence it lies at; None when what lies there is not ours."""

    sequence: int
    manifest: wire.Manifest | None


class Snapshots:
    """Makes and replaces snapshots. All methods raise JetStreamUnavailableError when JetStream does not answer."""

    def __init__(self, environment: str, jetstream: JetStream, store: Store, trust: Trust, replicas: int) -> None:
        self._environment = environment
        self._subjects = wire.Subjects(environment)
        self._jetstream = jetstream
        self._store = store
        self._trust = trust
        self.strange = 0
        """Messages in the stream that had no business there."""
        self._config = streams.snapshot_config(self._subjects, replicas)
        self._latest: wire.Manifest | None = None
        self._making = asyncio.Lock()
        self._inspected: StreamState | None = None

    async def adopt(self) -> wire.Manifest | None:
        """Puts the stream's settings right, creates it when missing, and reads the newest manifest."""
        if await streams.correct(self._jetstream, self._config) is None:
            await streams.create(self._jetstream, self._config)
        await self._look()
        return self._latest

    def due(self, epoch: int, revision: int) -> bool:
        """Whether an SDK starting now would have to fill more than it should."""
        latest = self._latest
        return latest is None or latest.ep != epoch or revision - latest.rev >= EVERY_REVISIONS

    async def refresh(self, epoch: int, revision: int) -> None:
        """Makes a snapshot when one is due and no other replica has just made it."""
        async with self._making:
            await self._look()
            if self.due(epoch, revision):
                await self._make()

    async def ensure(self, epoch: int, revision: int) -> bool:
        """Makes a snapshot of `epoch` at `revision` or later unless it is there. Returns whether it is: another replica
        may just have announced an older one, and two cannot be announced at once."""
        async with self._making:
            if not self._covers(epoch, revision):
                await self._look()
            if not self._covers(epoch, revision):
                await self._make()
            return self._covers(epoch, revision)

    async def replace(self) -> None:
        """Makes a snapshot now, whatever is there."""
        async with self._making:
            await self._make()

    async def inspect(self) -> None:
        """Removes what has no business in the stream, and makes the snapshot anew when its chunks are not what the manifest
        says. Costs one small request while nothing changes."""
        stream, subjects = self._subjects.snapshot_stream, self._subjects
        info = await self._jetstream.find_stream(stream, subjects.snapshot_all)
        if info is None or self._inspected == info.state:
            return
        for subject in info.state.subjects or {}:
            if subject not in {subjects.manifest, subjects.keys} and not _CHUNK.search(subject):
                self.strange += 1
                log.warning("strange_message_removed", environment=self._environment, subject=subject)
                await self._jetstream.purge(stream, subject)
        found = await self._find()
        if found and found.manifest and not await self._whole(found.manifest) and await self._find() == found:
            self.strange += 1
            log.warning("snapshot_damaged", environment=self._environment, sid=found.manifest.sid)
            await self.replace()
            return
        self._inspected = info.state

    async def _whole(self, manifest: wire.Manifest) -> bool:
        chunks: list[bytes] = []
        for index in range(manifest.n):
            found = await self._jetstream.find_last(
                self._subjects.snapshot_stream, self._subjects.chunk(manifest.sid, index)
            )
            if found is None:
                return False
            chunks.append(found.data)
        return wire.snapshot_digest(chunks) == manifest.sha

    def _covers(self, epoch: int, revision: int) -> bool:
        latest = self._latest
        return latest is not None and latest.ep == epoch and latest.rev >= revision

    async def _make(self) -> None:
        previous = await self._find()
        state = await self._store.state(self._environment)
        chunks = await asyncio.to_thread(packed.pack, state)
        head = state.head
        sid = f"{head.epoch}-{head.revision}-{urandom(4).hex()}"
        messages = [Message(self._subjects.chunk(sid, i), chunk, {}) for i, chunk in enumerate(chunks)]
        sequences = await self._jetstream.publish_all(messages, CHUNK_TIMEOUT_S)
        manifest = packed.manifest(head, chunks, sid=sid, seq=sequences[0])
        if not await self._announce(manifest, previous):
            return
        log.info("snapshot_published", environment=self._environment, revision=head.revision, chunks=len(chunks))
        if previous and previous.manifest:
            await self._jetstream.purge(self._subjects.snapshot_stream, self._subjects.chunks, previous.manifest.seq)

    async def _announce(self, manifest: wire.Manifest, previous: Announced | None) -> bool:
        """False when another replica announced one meanwhile: theirs is as good, and ours must not go back in time."""
        payload = msgspec.json.encode(manifest)
        key = await self._trust.keys.current(self._environment)
        headers = {
            wire.SIGNATURE_HEADER: key.sign("snapshot", self._environment, payload),
            "Nats-Expected-Last-Subject-Sequence": str(previous.sequence if previous else 0),
        }
        try:
            await self._jetstream.publish_one(Message(self._subjects.manifest, payload, headers), CHUNK_TIMEOUT_S)
        except JetStreamRefusedError as error:
            if not error.taken:
                raise
            await self._look()
            return False
        self._latest = manifest
        return True

    async def _look(self) -> None:
        found = await self._find()
        self._latest = found.manifest if found else None

    async def _find(self) -> Announced | None:
        try:
            found = await self._jetstream.find_last(self._subjects.snapshot_stream, self._subjects.manifest)
        except JetStreamRefusedError as error:
            if error.code != STREAM_NOT_FOUND:
                raise
            await streams.create(self._jetstream, self._config)
            return None
        if found is None:
            return None
        return Announced(found.seq, await self._trust.find("snapshot", found.data, found.signature, wire.Manifest))
