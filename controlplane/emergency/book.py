"""What a replica needs so that it can act without Postgres: signing keys, profiles, and who may switch safe mode.

Kept in memory and, sealed with BROWNOUT_SECRET_KEY, in one file on the replica's disk.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from brownout import wire
from controlplane.access.passes import Holders
from controlplane.configuration.store import SigningKey
from controlplane.kit.secret_box import SecretBox, SecretKeyError

log = structlog.get_logger(__name__)

FILE = "emergency.sealed"
_LABEL = "emergency-book/1"


class Place(msgspec.Struct, frozen=True):
    """One environment as the replica last read it."""

    key: str
    name: str
    kid: str
    private: bytes
    chain: wire.KeyChain
    revision: int
    profiles: dict[str, bytes]
    activations: dict[str, bytes]
    classes: tuple[str, ...] | None = None
    """The keys of the request classes; None in what an earlier version wrote, like `cohorts`."""
    cohorts: tuple[str, ...] | None = None

    def signing_key(self) -> SigningKey:
        return SigningKey(self.kid, Ed25519PrivateKey.from_private_bytes(self.private))

    def verifier(self) -> wire.Verifier:
        return wire.Verifier(self.key, {link.kid: wire.public_key(link.pub) for link in self.chain.links})


class Told(msgspec.Struct, frozen=True):
    """A signed message of an environment."""

    environment: str
    payload: bytes
    signature: str


class Kept(msgspec.Struct, frozen=True):
    """The file's content."""

    places: dict[str, Place] = {}
    holders: Holders = Holders()
    told: tuple[Told, ...] = ()
    """The emergencies that Postgres has not taken yet, and those that ended lately."""


class Book:
    """`kept` is what is known. `folder` is None where nothing is to be kept on disk."""

    def __init__(self, secrets: Sequence[str], folder: Path | None) -> None:
        self._box = SecretBox(secrets, "emergency-book")
        self._file = folder / FILE if folder else None
        self._written = b""
        self._turn = asyncio.Lock()
        self._writing = threading.Lock()  # a thread outlives the task that waited for it
        self.kept = Kept()
        self.failing = ""
        """Why the copy on disk cannot be used; empty while it can."""

    @property
    def places(self) -> Mapping[str, Place]:
        return self.kept.places

    def load(self) -> bool:
        """Takes what the disk has; returns whether that was anything. What another version wrote, or another secret key
        sealed, is as good as none."""
        if self._file is None:
            return False
        try:
            plain = self._box.open(self._file.read_bytes(), _LABEL)
            self.kept = msgspec.msgpack.decode(plain, type=Kept)
        except FileNotFoundError:
            return False
        except (OSError, SecretKeyError, msgspec.MsgspecError) as error:
            log.warning("emergency_copy_not_used", error=type(error).__name__)
            return False
        self._written = _mark(self.kept)
        return True

    async def keep(self, kept: Kept) -> None:
        """Takes `kept` at once. Returns when it is on disk, unless only the instant of reading has changed."""
        self.kept = kept
        if self._file is not None:
            async with self._turn:
                await asyncio.to_thread(self._write_down, self._file)

    def _write_down(self, file: Path) -> None:
        with self._writing:
            kept = self.kept
            mark = _mark(kept)
            if mark == self._written:
                return
            try:
                _write(file, self._box.seal(msgspec.msgpack.encode(kept), _LABEL))
                self._written, self.failing = mark, ""
            except OSError as error:
                self.failing = f"the copy for emergencies cannot be written: {error.strerror or error}"


def _mark(kept: Kept) -> bytes:
    """What two contents that need not be told apart have in common: everything but when it was read."""
    read = msgspec.structs.replace(kept.holders, read_at=min(kept.holders.read_at, 1))
    return msgspec.msgpack.encode(msgspec.structs.replace(kept, holders=read), order="deterministic")


def _write(path: Path, content: bytes) -> None:
    """All or nothing, for nobody else's eyes."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(number)
        partial.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
