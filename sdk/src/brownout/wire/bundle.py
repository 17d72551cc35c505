"""One file that proves a configuration: a signed snapshot, the signed revisions after it, and the keys that lead there.

Disk copies and the output of `brownout export --bundle` are the same format, so each can stand in for the other:
the line `brownout-bundle 1`, then one MessagePack `Bundle`. Nothing in it is trusted before its signatures are checked.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec

from brownout.errors import BundleError
from brownout.wire import UNREADABLE

MAGIC = b"brownout-bundle 1\n"
MAX_BYTES = 256 * 1024 * 1024
"""A larger file is refused unread."""


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """The exact bytes that were signed, and their `Bo-Sig`."""

    payload: bytes
    signature: str


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest` and `chunks` as in the snapshot stream; `tail`: envelopes after it, in order.

    `keys`: JSON `wire.KeyChain`, or empty. `head`: a heartbeat, which dates the whole; without it the last envelope does.
    """

    environment: str
    manifest: Signed
    chunks: tuple[bytes, ...]
    keys: bytes = b""
    tail: tuple[Signed, ...] = ()
    head: Signed | None = None


def pack(bundle: Bundle) -> bytes:
    return MAGIC + msgspec.msgpack.encode(bundle)


def unpack(data: bytes) -> Bundle:
    """Raises BundleError when `data` is not a bundle of this version. Says nothing about signatures."""
    if not data.startswith(MAGIC):
        raise BundleError("not a Brownout bundle")
    try:
        return msgspec.msgpack.decode(memoryview(data)[len(MAGIC) :], type=Bundle)
    except UNREADABLE as error:
        raise BundleError("the bundle is damaged") from error


def read(path: Path) -> Bundle:
    """Raises OSError, or BundleError as `unpack` does."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise BundleError("the bundle is too large")
        return unpack(file.read(MAX_BYTES + 1))


def write(path: Path, bundle: Bundle) -> None:
    """Replaces `path` in one step: a reader or a crash meets the old file or the new one, never a mixture."""
    handle, partial = tempfile.mkstemp(prefix=path.name + ".", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pack(bundle))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)  # noqa: PTH105 - atomic on every system, as its name says
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)  # noqa: PTH108
        raise
