"""An environment's state as SDKs take it: chunks, and the manifest that proves them."""

from collections.abc import Sequence

from brownout import wire
from brownout.model.kinds import is_plane
from controlplane.configuration.store import Head, State


def pack(state: State) -> tuple[bytes, ...]:
    """Without plane kinds, which SDKs may not read. Compresses: of a large state not on the event loop."""
    return wire.pack_snapshot(
        (ref.kind, ref.key, spec) for ref, spec in state.resources.items() if not is_plane(ref.kind)
    )


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
