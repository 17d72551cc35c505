"""The bytes of a revision: the envelope that is published, and the seal over what only history keeps."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from brownout import wire
from brownout.model.kinds import is_plane
from controlplane.configuration.store.sealed import sealed_operation
from controlplane.configuration.store.signing import SigningKey
from controlplane.configuration.store.values import Change, Head

_RESET = (wire.Operation("reset"),)


class Entry(NamedTuple):
    """What a revision says: who, why, when (to the millisecond), what it does, and for whom that matters."""

    author: str
    message: str
    at: datetime
    changes: tuple[Change, ...]
    effective: tuple[str, ...]


class Record(NamedTuple):
    """One revision, signed, ready to be written."""

    revision: int
    epoch: int
    previous_chain: str
    chain: str
    payload: bytes
    signature: str
    reset: bool
    seal: str


def record(
    key: SigningKey, previous: Head, entry: Entry, jump: tuple[int, int] | None = None, *, salt: bytes
) -> Record:
    """Makes the revision after `previous`. `salt` is the environment's secret for what SDKs must not read.

    A fence passes `jump`, the (epoch, revision) to go to. It is published as a `reset`, as is a commit whose envelope
    would pass wire.MAX_ENVELOPE_BYTES.
    """
    epoch, revision = jump or (previous.epoch, previous.revision + 1)
    ts = int(entry.at.timestamp() * 1000)
    environment = previous.environment

    def payload_of(operations: tuple[wire.Operation, ...]) -> bytes:
        return msgspec.json.encode(wire.Envelope(1, environment, epoch, revision, previous.chain, ts, operations))

    reset = (
        jump is not None
        or sum(len(c.after or b"") for c in entry.changes if not is_plane(c.kind)) > wire.MAX_ENVELOPE_BYTES
    )
    payload = b"" if reset else payload_of(envelope_operations(entry.changes, salt, revision))
    if reset or len(payload) > wire.MAX_ENVELOPE_BYTES:
        reset, payload = True, payload_of(_RESET)
    chain = wire.chain(previous.chain, payload)
    seal = key.sign("record", environment, record_payload(chain, entry))
    signature = key.sign("log", environment, payload)
    return Record(revision, epoch, previous.chain, chain, payload, signature, reset, seal)


def record_payload(chain: str, entry: Entry) -> bytes:
    """What a seal signs: who, why and when, the effective change, and a digest of every before and after."""
    digest = hashlib.sha256()
    for change in sorted(entry.changes, key=lambda c: c.ref):
        digest.update(msgspec.json.encode((change.kind, change.key)))
        for side in (change.before, change.after):
            digest.update(b"-" if side is None else hashlib.sha256(side).digest())
    ts = int(entry.at.timestamp() * 1000)
    return msgspec.json.encode((chain, entry.author, entry.message, entry.effective, ts, digest.hexdigest()))


def envelope_operations(changes: Sequence[Change], salt: bytes, revision: int) -> tuple[wire.Operation, ...]:
    """The changes as SDKs are told them."""
    return tuple(
        sealed_operation(change, salt, revision) if is_plane(change.kind) else _operation(change) for change in changes
    )


def _operation(change: Change) -> wire.Operation:
    if change.after is None:
        return wire.Operation("del", change.kind, change.key)
    return wire.Operation("put", change.kind, change.key, msgspec.Raw(change.after))
