"""An environment's state as SDKs take it: chunks, and the manifest that proves them."""

from collections.abc import Sequence

from brownout import wire
from controlplane.configuration.store import Head, State


def pack(state: State) -> tuple[bytes, ...]:
    """Compresses: of a large state not on the event loop."""
    return wire.pack_snapshot((kind, key, spec) for (kind, key), spec in state.served.items())


def manifest(head: Head, chunks: Sequence[bytes], *, sid: str, seq: int) -> wire.Manifest:
    """`sid` names the snapshot, `seq` is its first chunk's place in the stream."""
    return wire.Manifest(
        v=1,
        env=head.environment,
        ep=head.epoch,
        rev=head.revision,
        chain=head.chain,
        n=len(chunks),
        sid=sid,
        seq=seq,
        sha=wire.snapshot_digest(chunks),
    )
