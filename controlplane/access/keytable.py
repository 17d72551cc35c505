"""The SDK keys that open NATS, in memory, with a copy on disk for when Postgres is away."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from controlplane.access.traffic import ALL_USES


class KeyEntry(msgspec.Struct, frozen=True):
    """One usable SDK key. `digest` is of its secret; `expires_at` is Unix ms, 0 for never. `place` is the number of its
    environment, by which NATS keeps environments apart."""

    id: str
    digest: str
    environment: str
    expires_at: int = 0
    uses: tuple[str, ...] = ALL_USES
    place: int = 0


class _Copy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    version: int
    keys: tuple[KeyEntry, ...]


class KeyTable:
    """Looked up once per connection. `version` is the database's counter of changes to keys."""

    def __init__(self, copy: Path | None = None) -> None:
        self._copy = copy
        self._by_digest: dict[str, KeyEntry] = {}
        self.version = -1

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, digest: str, now_ms: int) -> KeyEntry | None:
        entry = self._by_digest.get(digest)
        if entry is None or (entry.expires_at and entry.expires_at <= now_ms):
            return None
        return entry

    def live_ids(self, now_ms: int) -> frozenset[str]:
        return frozenset(e.id for e in self._by_digest.values() if not e.expires_at or e.expires_at > now_ms)

    def next_expiry(self, now_ms: int) -> int | None:
        return min((e.expires_at for e in self._by_digest.values() if e.expires_at > now_ms), default=None)

    def replace(self, version: int, keys: Iterable[KeyEntry]) -> None:
        """Takes what the database says, and keeps a copy of it."""
        entries = tuple(keys)
        self._by_digest = {entry.digest: entry for entry in entries}
        self.version = version
        if self._copy:
            _write(self._copy, msgspec.json.encode(_Copy(1, version, entries)))

    def load_copy(self) -> bool:
        """Starts from the copy on disk; False when there is none that can be read."""
        if self._copy is None:
            return False
        try:
            copy = msgspec.json.decode(self._copy.read_bytes(), type=_Copy)
        except (OSError, msgspec.MsgspecError):
            return False
        self._by_digest = {entry.digest: entry for entry in copy.keys}
        return True


def _write(path: Path, data: bytes) -> None:
    """Atomically, readable by nobody else. A disk that cannot be written costs the copy, not the service."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        partial.replace(path)
