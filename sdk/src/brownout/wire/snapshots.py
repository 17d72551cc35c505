"""A whole environment as chunks of one compressed stream, and back."""

import hashlib
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


SNAPSHOT_CHUNK_BYTES = 64 * 1024


_UNPACK_STEP_BYTES = 256 * 1024


def pack_snapshot(resources: Iterable[tuple[str, str, bytes]]) -> tuple[bytes, ...]:
    """The chunks of a snapshot of `(kind, key, canonical spec)`: one zlib stream cut into pieces, at least one.

    The stream holds a line `kind TAB key TAB spec` per resource. Canonical JSON has neither tabs nor line breaks, so
    reading it back needs no parser and leaves every spec undecoded until somebody asks for it.

    Raises:
        ValueError: a spec is not canonical JSON (it has a line break).
    """
    squeeze = zlib.compressobj(level=4)
    pieces: list[bytes] = []
    for kind, key, spec in resources:
        if b"\n" in spec:
            raise ValueError(f"the spec of {kind} {key} is not canonical JSON")
        pieces.append(squeeze.compress(b"%b\t%b\t%b\n" % (kind.encode(), key.encode(), spec)))
    pieces.append(squeeze.flush())
    packed = b"".join(pieces)
    return tuple(packed[i : i + SNAPSHOT_CHUNK_BYTES] for i in range(0, len(packed), SNAPSHOT_CHUNK_BYTES))


def snapshot_digest(chunks: Iterable[bytes]) -> str:
    """64 hex digits of the sha256 over all chunks in order: `Manifest.sha`."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def unpack_snapshot(chunks: Iterable[bytes]) -> Iterator[list[tuple[str, str, bytes]]]:
    """Yields batches of `(kind, key, spec)`, each from at most 256 KiB, so that a caller can let other threads run.

    Verify `snapshot_digest` first: this trusts its input to be what `pack_snapshot` made.

    Raises:
        ValueError: the chunks are not a whole snapshot.
    """
    inflate = zlib.decompressobj()
    rest = b""
    try:
        for chunk in chunks:
            todo = chunk
            while todo:
                lines = (rest + inflate.decompress(todo, _UNPACK_STEP_BYTES)).split(b"\n")
                todo = inflate.unconsumed_tail
                rest = lines.pop()
                yield [_resource(line) for line in lines]
    except zlib.error as error:
        raise ValueError(f"not a snapshot: {error}") from error
    if rest or not inflate.eof:
        raise ValueError("not a whole snapshot")


def _resource(line: bytes) -> tuple[str, str, bytes]:
    kind, key, spec = line.split(b"\t", 2)
    return sys.intern(kind.decode()), key.decode(), spec
