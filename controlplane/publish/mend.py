"""Bringing NATS back to what Postgres says: streams that are gone, and history that is not Postgres's.

Postgres restored to an older point shows as evidence of revisions that it does not have: in the log, in a manifest, or
at an SDK. Then a fence opens a new epoch above everything seen, so that no SDK keeps or mixes the lost revisions.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

import structlog

from brownout import wire
from controlplane.configuration.store import Head, StoredEnvelope
from controlplane.publish.log import Last, RevisionLog
from controlplane.publish.parts import Position, Shared
from controlplane.publish.queries import mending
from controlplane.publish.snapshots import Snapshots
from controlplane.publish.trust import Trust

log = structlog.get_logger(__name__)

REFILL = 1_000
"""Revisions put back into a lost log: an SDK that is further behind takes the snapshot."""
PAGE = 500
NEW = timedelta(minutes=1)
"""An environment's first log is no loss that somebody should look into."""


class Mended(NamedTuple):
    """`logged`: where the log ends now. `fenced`, `recreated`: what it took."""

    logged: Position
    fenced: bool
    recreated: bool


class Mender:
    """Judges and repairs one environment's streams. Raises JetStreamUnavailableError and UnavailableError."""

    def __init__(
        self, environment: str, parts: Shared, revisions: RevisionLog, snapshots: Snapshots, trust: Trust
    ) -> None:
        self._environment = environment
        self._database = parts.database
        self._store = parts.store
        self._clock = parts.clock
        self._log = revisions
        self._snapshots = snapshots
        self._trust = trust

    async def find_end(self) -> Position | None:
        """Where the log ends, when Postgres has the same revisions and can go on there; None when it needs mending."""
        last = await self._log.find_last()
        if last is None:
            return None
        # Postgres is read after NATS: a commit precedes its publication, so NATS is never rightly ahead.
        rows = await self._store.envelopes(self._environment, last.revision - 1, 2)
        if last.payload is None:
            head = await self._store.head(self._environment)
            following = [row for row in rows if row.revision > last.revision]
            end = Position(head.epoch, last.revision)
            sound = last.revision <= head.revision
        else:
            following = list(rows[1:])
            end = Position(rows[0].epoch if rows else 0, last.revision)
            sound = bool(rows) and rows[0].revision == last.revision and _same(rows[0], last)
        goes_on = not following or following[0].revision == last.revision + 1
        return end if sound and goes_on else None

    async def mend(self, sightings: Iterable[Position] = ()) -> Mended | None:
        """Repairs under the environment's lock; None when another replica is at it.

        `sightings` are proven positions of SDKs: what Postgres does not have of them is fenced off.
        """
        async with mending(self._database, self._environment) as held:
            return await self._mend(sightings) if held else None

    async def _mend(self, sightings: Iterable[Position]) -> Mended:
        last = await self._log.find_last()
        manifest = await self._snapshots.adopt()
        head = await self._store.head(self._environment)
        foreign = last is not None and await self._foreign(last, head)
        seen = [position for position in sightings if position > (head.epoch, head.revision)]
        if foreign and last is not None:
            seen.append(await self._position(last))
        if manifest and not await self._ours(manifest, head):
            seen.append(Position(manifest.ep, manifest.rev))
        fenced = any(position.epoch >= head.epoch for position in seen)
        if fenced:
            head = await self._fence(seen)
        start = await self._start(head, None if foreign else last)
        recreate = last is None or foreign or last.revision + 1 != start
        if recreate:
            tell = log.info if last is None and await self._is_new() else log.warning
            tell("log_recreated", environment=self._environment, first=start, previous=last and last.revision)
            await self._log.delete()
            await self._log.create(start)
        if fenced or recreate:
            await self._snapshots.replace()
        return Mended(Position(head.epoch, start - 1), fenced, recreate)

    async def _is_new(self) -> bool:
        """Made a moment ago, so no publisher has come to it before, however many commits have."""
        since = self._clock.now() - NEW
        made = await self._store.list_environments()
        return any(each.key == self._environment and each.created_at > since for each in made)

    async def _fence(self, seen: list[Position]) -> Head:
        epoch, revision = max(p.epoch for p in seen), max(p.revision for p in seen)
        log.warning("fenced", environment=self._environment, seen_epoch=epoch, seen_revision=revision)
        why = f"Postgres was restored to an older point: NATS or an SDK had revision {revision} of epoch {epoch}"
        await self._store.fence(self._environment, revision, epoch, why)
        return await self._store.head(self._environment)

    async def _start(self, head: Head, trusted: Last | None) -> int:
        """The first revision that the log lacks, or when it cannot simply go on, the first it is to hold."""
        if trusted is not None:
            following = await self._store.envelopes(self._environment, trusted.revision, 1)
            if not following:
                return trusted.revision + 1
            if following[0].epoch == head.epoch:
                return following[0].revision
        return await self._first_of_epoch(head)

    async def _first_of_epoch(self, head: Head) -> int:
        """The oldest revision of the head's epoch, but not more than REFILL back."""
        after = max(0, head.revision - REFILL)
        while page := await self._store.envelopes(self._environment, after, PAGE):
            for envelope in page:
                if envelope.epoch == head.epoch:
                    return envelope.revision
            after = page[-1].revision
        return head.revision + 1

    async def _foreign(self, last: Last, head: Head) -> bool:
        """Whether the log ends in something that Postgres does not have."""
        if last.payload is None:
            return last.revision > head.revision
        stored = await self._find(last.revision)
        return stored is None or not _same(stored, last)

    async def _ours(self, manifest: wire.Manifest, head: Head) -> bool:
        if manifest.ep < head.epoch or manifest.rev == 0:
            return True
        stored = await self._find(manifest.rev)
        return stored is not None and stored.chain == manifest.chain

    async def _find(self, revision: int) -> StoredEnvelope | None:
        found = await self._store.envelopes(self._environment, revision - 1, 1)
        return found[0] if found and found[0].revision == revision else None

    async def _position(self, last: Last) -> Position:
        """Of a log that ends in a foreign revision. What we never signed there counts as the oldest epoch: it makes a new
        log, not a new history."""
        if last.payload is None:
            return Position(0, last.revision)
        envelope = await self._trust.find("log", last.payload, last.signature, wire.Envelope)
        return Position(envelope.ep if envelope else 0, last.revision)


def _same(stored: StoredEnvelope, last: Last) -> bool:
    """Signed too: SDKs take nothing else."""
    return stored.payload == last.payload and stored.signature == last.signature
