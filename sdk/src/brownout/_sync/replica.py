"""Which message may change what this process serves. No I/O and no wall clock: everything it knows, it was handed.

The rules of docs/adr/0003-transport.md: a revision is applied iff its signature is valid, it is the next one, and it names
the hash chain held. Lower is dropped, higher is buffered until the gap is filled, anything else asks for a snapshot.
"""

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import Literal, NamedTuple, TypeVar

import msgspec

from brownout import wire
from brownout._sync import native
from brownout._sync.clock import Heard, SignedTime
from brownout._sync.outside import Outside
from brownout._sync.run import Run, can_be_applied
from brownout._sync.sink import Resources, Sink
from brownout.errors import BundleError
from brownout.status import Counters
from brownout.wire.bundle import Bundle, Signed

MAX_BUFFERED = 512
"""Revisions kept while a gap is filled; more are fetched again, not remembered."""

_VERSION = 1

_Batch = list[tuple[str, str, bytes]]
_Message = TypeVar("_Message", wire.Emergency, wire.Envelope, wire.Heartbeat, wire.Manifest)


class Outcome(Enum):
    """What one message did."""

    APPLIED = auto()
    CONFIRMS = auto()
    """It names exactly the head held."""
    BEHIND = auto()
    """It proves that there is more to fetch."""
    AHEAD = auto()
    """Whoever signed it does not know the head held."""
    DROPPED = auto()
    UNKNOWN_KEY = auto()
    """Its signing key is to be learned first."""


class Need(Enum):
    NOTHING = auto()
    FILL = auto()
    SNAPSHOT = auto()


class Taken(NamedTuple):
    """Of messages offered together: what the last one did, how many were looked at, and how many of them were applied."""

    outcome: Outcome
    looked_at: int
    applied: int


class SnapshotRefusedError(Exception):
    """The snapshot is incomplete, forged, foreign, or older than what is held."""


class Replica:
    """An environment as this process knows it, with the signed evidence for it."""

    def __init__(
        self,
        environment: str,
        verifier: wire.Verifier,
        sink: Sink,
        counters: Counters,
        *,
        time: SignedTime | None = None,
        keep: bool = True,
        outside: Outside | None = None,
    ) -> None:
        """`keep` everything that a file needs; else only what proves the head. `outside` is where emergencies go."""
        self.environment = environment
        self.time = time or SignedTime()
        self.outside = outside or Outside(self.time)
        self.verifier = verifier
        self.counters = counters
        self.epoch = 0
        self.revision = -1
        self.chain = ""
        self.as_of = 0
        """Unix ms of the newest signed statement about the head held."""
        self.heartbeat_interval_s = 5.0
        self.fleet: int | None = None
        """Live instances of the environment, as the last heartbeat counted them; None if it did not."""
        self.lock = native.lock()
        """Held while state changes, so that a fork copies it whole. Evaluation never takes it."""
        self._sink = sink
        self._keep = keep
        self._keys = b""
        self._evidence: Bundle | None = None
        self._tail: list[Signed] = []
        self._buffer: dict[int, tuple[wire.Envelope, Signed]] = {}
        self._target = (0, -1)
        self._reset_at = -1
        self._suspect = False
        self._diverged = False
        self._promised = (0, -1, 0)
        """Epoch, revision and instant of the newest heartbeat that showed a head to come."""

    @property
    def need(self) -> Need:
        if self.revision < 0 or self._diverged or self._target[0] > self.epoch or self._reset_at > self.revision:
            return Need.SNAPSHOT
        behind = self._target > (self.epoch, self.revision)
        return Need.FILL if self._suspect or behind else Need.NOTHING

    @property
    def tail_length(self) -> int:
        """Revisions held beyond the evidence's snapshot."""
        return len(self._tail)

    def offer(self, message: Signed, *, logged: bool = False) -> Outcome:
        """Takes an envelope. `logged`: it was read from the log, where meeting known ones again is expected."""
        return self.offer_all((message,), logged=logged).outcome

    def offer_all(self, messages: Sequence[Signed], *, logged: bool = False) -> Taken:
        """Takes envelopes in order. Those that continue each other, and what was buffered behind them, are verified one
        by one and applied as one. It stops after one whose signing key is to be learned."""
        run = Run(self.revision, self.chain)
        outcome, looked_at, applied = Outcome.DROPPED, 0, 0
        for message in messages:
            outcome = self._examine(message, run, logged)
            looked_at += 1
            applied += outcome is Outcome.APPLIED
            if outcome is Outcome.UNKNOWN_KEY:
                break
        self._apply(run)
        return Taken(outcome, looked_at, applied)

    def _examine(self, message: Signed, run: Run, logged: bool) -> Outcome:
        envelope = self._open("log", message, wire.Envelope)
        if isinstance(envelope, Outcome):
            return envelope
        if envelope.ep > self.epoch and run.revision >= 0:
            return self._aim(envelope.ep, envelope.rev)
        if envelope.ep < self.epoch or envelope.rev < run.revision:
            self.counters.replays += not logged
            return Outcome.DROPPED
        if envelope.rev == run.revision:
            if wire.chain(envelope.pch, message.payload) != run.chain:
                return self._contradicted(logged)
            self.counters.replays += not logged
            return Outcome.CONFIRMS
        if run.revision < 0 or envelope.rev > run.revision + 1:
            self._remember(envelope, message)
            return self._aim(envelope.ep, envelope.rev)
        if envelope.pch != run.chain:
            return self._contradicted(logged)
        if not can_be_applied(envelope):
            self._reset_at = envelope.rev
            return self._aim(envelope.ep, envelope.rev)
        run.append(envelope, message)
        self._drain(run)
        return Outcome.APPLIED

    def hear(self, message: Signed) -> Outcome:
        """Takes a heartbeat. One that is not newer than the last says nothing: it may be a recording."""
        beat = self._open("heartbeat", message, wire.Heartbeat)
        if isinstance(beat, Outcome):
            return beat
        heard = self.time.hear(beat.ts)
        if heard is Heard.REPEAT:
            self.counters.replays += 1
            return Outcome.DROPPED
        self.heartbeat_interval_s = _interval_s(beat)
        self.fleet = beat.fleet if beat.fleet > 0 else None
        head, held = (beat.ep, beat.rev), (self.epoch, self.revision)
        if head < held and self.revision >= 0:
            return Outcome.AHEAD
        if heard is Heard.FRESH:
            self._promised = (*head, beat.ts)
        if head != held:
            return self._aim(*head)
        self._keep_promise()
        if self.time.is_past(beat.ts):
            self._date(beat, message)
        return Outcome.CONFIRMS

    def hear_emergency(self, message: Signed) -> Outcome:
        """Takes safe mode that comes beside the log."""
        if len(message.payload) > wire.MAX_EMERGENCY_BYTES:
            self.counters.malformed += 1
            return Outcome.DROPPED
        said = self._open("emergency", message, wire.Emergency)
        if isinstance(said, Outcome):
            return said
        with self.lock:
            taken = self.outside.take(said, message)
            self.counters.emergencies += taken
            self._sink.look()
        return Outcome.APPLIED if taken else Outcome.DROPPED

    def look(self) -> None:
        """Looks at what may have changed outside of the log. Returns at once while a revision is being applied."""
        if self.lock.acquire(blocking=False):
            try:
                self._sink.look()
            finally:
                self.lock.release()

    def open_manifest(self, message: Signed) -> wire.Manifest:
        """The manifest, when its snapshot may replace what is held.

        Raises:
            SnapshotRefusedError: it may not.
            UnknownKeyError: its signing key is to be learned first.
        """
        manifest = self._open("snapshot", message, wire.Manifest)
        if manifest is Outcome.UNKNOWN_KEY:
            raise wire.UnknownKeyError(message.signature.partition(".")[0])
        if isinstance(manifest, Outcome):
            raise SnapshotRefusedError("the snapshot's manifest is not signed by a trusted key, or cannot be read")
        offered = (manifest.ep, manifest.rev)
        back = offered < (self.epoch, self.revision) and not (self._diverged and manifest.ep == self.epoch)
        if back or manifest.ep < self._target[0] or (manifest.ep == self.epoch and manifest.rev < self._reset_at):
            raise SnapshotRefusedError(f"the newest snapshot is of revision {manifest.rev}, which is too old")
        return manifest

    def restore(self, message: Signed, chunks: Sequence[bytes]) -> None:
        """Replaces everything by a snapshot that `open_manifest` would let pass, then applies what was buffered.

        Raises:
            SnapshotRefusedError, UnknownKeyError: nothing was changed.
        """
        manifest = self.open_manifest(message)
        self._check_chunks(manifest, chunks)
        with self.lock:
            try:
                self._sink.load(manifest.rev, self._counting(wire.unpack_snapshot(chunks)))
            except ValueError as error:
                self.counters.malformed += 1
                raise SnapshotRefusedError(str(error)) from error
            self.epoch, self.revision, self.chain = manifest.ep, manifest.rev, manifest.chain
            kept = tuple(chunks) if self._keep else ()
            self._evidence = Bundle(environment=self.environment, manifest=message, chunks=kept, keys=self._keys)
            self._tail = []
            self._diverged = self._suspect = False
            self.counters.snapshots += 1
        self._forget_passed()
        self._keep_promise()
        run = Run(self.revision, self.chain)
        self._drain(run)
        self._apply(run)

    def open_evidence(self, message: Signed) -> wire.Manifest:
        """The manifest, when its snapshot may replace the evidence's own; it is no newer than what is held.

        Raises:
            SnapshotRefusedError: it may not.
        """
        manifest = self._open("snapshot", message, wire.Manifest)
        if isinstance(manifest, Outcome) or self._evidence is None:
            raise SnapshotRefusedError("the snapshot's manifest cannot be trusted")
        if manifest.ep != self.epoch or not 0 < self._covered(manifest) <= len(self._tail):
            raise SnapshotRefusedError("the snapshot is not between the evidence's own and the head")
        return manifest

    def rebase(self, message: Signed, chunks: Sequence[bytes]) -> None:
        """Shortens the evidence by a newer snapshot, which stands for the revisions it includes; serves as before.

        Raises:
            SnapshotRefusedError: the evidence stays as it was.
        """
        manifest = self.open_evidence(message)
        assert self._evidence is not None
        self._check_chunks(manifest, chunks)
        rest = self._tail[self._covered(manifest) :]
        joint = msgspec.json.decode(rest[0].payload, type=wire.Envelope).pch if rest else self.chain
        if manifest.chain != joint:
            raise SnapshotRefusedError("the snapshot is of another history")
        with self.lock:
            self._evidence = msgspec.structs.replace(
                self._evidence, manifest=message, chunks=tuple(chunks), keys=self._keys
            )
            self._tail = rest

    def learn(self, keys: bytes) -> int:
        """Takes a key chain (JSON); returns how many keys it newly vouches for."""
        try:
            learned = wire.learn(self.verifier, msgspec.json.decode(keys, type=wire.KeyChain))
        except (*wire.UNREADABLE, ValueError):
            self.counters.malformed += 1
            return 0
        if learned or not self._keys:
            self._keys = keys
        return learned

    def filled(self) -> None:
        """The log was read to its end: a suspicion that it did not confirm was unfounded."""
        self._suspect = False

    def bundle(self) -> Bundle | None:
        """Everything held, provable to whoever has the environment's public key."""
        with self.lock:
            if not self._evidence or not self._keep:
                return None
            return msgspec.structs.replace(self._evidence, tail=tuple(self._tail), keys=self._keys)

    def proof(self, limit_bytes: int) -> tuple[Literal["log", "snapshot"], Signed] | None:
        """Signed bytes which show that the control plane once was at, or as near as fits the limit to, the head held."""
        with self.lock:
            for message in reversed(self._tail):
                if len(message.payload) <= limit_bytes:
                    return "log", message
            return ("snapshot", self._evidence.manifest) if self._evidence else None

    def adopt(self, bundle: Bundle) -> None:
        """Starts from a file. Every signature in it is checked before any of it is served.

        Raises:
            BundleError: something in it does not verify; nothing was changed.
        """
        trial = Replica(self.environment, self.verifier, Resources(), Counters())
        trial._rebuild(bundle)
        with self.lock:
            assert isinstance(trial._sink, Resources)
            self.time.remember(trial.as_of)
            self._sink.load(trial.revision, [[(kind, key, spec) for (kind, key), spec in trial._sink.items()]])
            self._take(trial)

    def inherit(self, other: "Replica") -> None:
        """Goes on where another life of the sync thread ended; the sink already serves its state."""
        self._take(other)

    def _take(self, other: "Replica") -> None:
        self.epoch, self.revision, self.chain = other.epoch, other.revision, other.chain
        self.as_of, self._promised, self.heartbeat_interval_s = other.as_of, other._promised, other.heartbeat_interval_s
        self._keys, self._evidence, self._tail = other._keys, other._evidence, list(other._tail)

    def _rebuild(self, bundle: Bundle) -> None:
        if bundle.environment != self.environment:
            raise BundleError(f"the file is of environment {bundle.environment!r}, not {self.environment!r}")
        try:
            if bundle.keys:
                self.learn(bundle.keys)
            self.restore(bundle.manifest, bundle.chunks)
        except (SnapshotRefusedError, wire.UnknownKeyError) as error:
            raise BundleError("the file's snapshot is damaged or not signed by a trusted key") from error
        for message in bundle.tail:
            if self.offer(message, logged=True) is not Outcome.APPLIED:
                raise BundleError("a revision in the file is damaged or not signed by a trusted key")
        if bundle.head:
            beat = self._open("heartbeat", bundle.head, wire.Heartbeat)
            if isinstance(beat, Outcome) or (beat.ep, beat.rev) > (self.epoch, self.revision):
                raise BundleError("the file's date is damaged or not signed by a trusted key")
            self._date(beat, bundle.head)

    def _open(self, kind: wire.SignedKind, message: Signed, type_: type[_Message]) -> "_Message | Outcome":
        self.counters.steps += 1
        try:
            if not self.verifier.verify(kind, message.payload, message.signature):
                self.counters.bad_signatures += 1
                return Outcome.DROPPED
            content = wire.read(message.payload, type_)
        except wire.UnknownKeyError:
            self.counters.bad_signatures += 1
            return Outcome.UNKNOWN_KEY
        except wire.UNREADABLE:
            self.counters.malformed += 1
            return Outcome.DROPPED
        if content.env != self.environment or content.v != _VERSION:
            self.counters.malformed += 1
            return Outcome.DROPPED
        return content

    def _counting(self, batches: Iterator[_Batch]) -> Iterator[_Batch]:
        for batch in batches:
            self.counters.steps += 1
            yield batch

    def _keep_promise(self) -> None:
        """The head that the newest heartbeat showed may be held by now."""
        epoch, revision, ts = self._promised
        if ts and (epoch, revision) == (self.epoch, self.revision):
            self.time.vouch(ts, live=True)

    def _date(self, beat: wire.Heartbeat, message: Signed) -> None:
        """Keeps a heartbeat that shows the head held, or one before it, as the date of everything held."""
        with self.lock:
            self.as_of = max(self.as_of, beat.ts)
            self.heartbeat_interval_s = _interval_s(beat)
            if self._evidence:
                self._evidence = msgspec.structs.replace(self._evidence, head=message)

    def _covered(self, manifest: wire.Manifest) -> int:
        """How many revisions of the tail a snapshot includes."""
        return manifest.rev - (self.revision - len(self._tail))

    def _check_chunks(self, manifest: wire.Manifest, chunks: Sequence[bytes]) -> None:
        if len(chunks) != manifest.n or wire.snapshot_digest(chunks) != manifest.sha:
            self.counters.malformed += 1
            raise SnapshotRefusedError("the snapshot's chunks are not what its manifest announces")

    def _aim(self, epoch: int, revision: int) -> Outcome:
        self._target = max(self._target, (epoch, revision))
        return Outcome.BEHIND

    def _contradicted(self, logged: bool) -> Outcome:
        """A signed envelope of another history: look at the log; when the log says so too, take a snapshot."""
        self.counters.malformed += 1
        self._suspect = True
        self._diverged = self._diverged or logged
        return Outcome.BEHIND

    def _remember(self, envelope: wire.Envelope, message: Signed) -> None:
        if not self._buffer:
            self.counters.gaps += self.revision >= 0
        self._buffer[envelope.rev] = (envelope, message)
        if len(self._buffer) > MAX_BUFFERED:
            del self._buffer[max(self._buffer)]

    def _drain(self, run: Run) -> None:
        """Adds what was buffered behind the run."""
        while held := self._buffer.pop(run.revision + 1, None):
            envelope, message = held
            if envelope.ep != self.epoch or envelope.pch != run.chain or not can_be_applied(envelope):
                self._suspect = True
                return
            run.append(envelope, message)

    def _apply(self, run: Run) -> None:
        if not run.messages:
            return
        with self.lock:
            self._sink.apply(run.operations, run.revision)
            self.revision, self.chain = run.revision, run.chain
            self.as_of = max(self.as_of, run.as_of)
            if not self._keep:
                self._tail.clear()
            self._tail += run.messages if self._keep else run.messages[-1:]
            self.counters.applied += len(run.messages)
        self._forget_passed()
        self.time.passed(run.as_of)
        self._keep_promise()

    def _forget_passed(self) -> None:
        for revision in [r for r in self._buffer if r <= self.revision]:
            del self._buffer[revision]


def _interval_s(beat: wire.Heartbeat) -> float:
    return min(max(beat.interval_s, 0.1), 300.0)
