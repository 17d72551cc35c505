"""What travels over NATS: envelopes, subjects, snapshots and signatures."""

from brownout.wire.emergency import EARLY_MS, LONGEST_MS, MAX_EMERGENCY_BYTES, Emergency
from brownout.wire.envelopes import (
    MAX_ENVELOPE_BYTES,
    UNREADABLE,
    Envelope,
    Heartbeat,
    Manifest,
    Operation,
    Outside,
    Presence,
    chain,
    read,
)
from brownout.wire.signing import (
    KeyChain,
    KeyLink,
    SdkKey,
    SignedKind,
    UnknownKeyError,
    Verifier,
    fingerprint,
    learn,
    link_payload,
    public_key,
    sign,
)
from brownout.wire.snapshots import SNAPSHOT_CHUNK_BYTES, pack_snapshot, snapshot_digest, unpack_snapshot
from brownout.wire.subjects import SIGNATURE_HEADER, Subjects

__all__ = [
    "EARLY_MS",
    "LONGEST_MS",
    "MAX_EMERGENCY_BYTES",
    "MAX_ENVELOPE_BYTES",
    "SIGNATURE_HEADER",
    "SNAPSHOT_CHUNK_BYTES",
    "UNREADABLE",
    "Emergency",
    "Envelope",
    "Heartbeat",
    "KeyChain",
    "KeyLink",
    "Manifest",
    "Operation",
    "Outside",
    "Presence",
    "SdkKey",
    "SignedKind",
    "Subjects",
    "UnknownKeyError",
    "Verifier",
    "chain",
    "fingerprint",
    "learn",
    "link_payload",
    "pack_snapshot",
    "public_key",
    "read",
    "sign",
    "snapshot_digest",
    "unpack_snapshot",
]
