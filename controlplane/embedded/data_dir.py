"""What `brownout up` keeps: one directory, one owner at a time, readable by that owner alone."""

import errno
import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import TypeVar

import msgspec

from controlplane.embedded.processes import StartError, private_mode

T = TypeVar("T")

FORMAT = 1
"""Raise it when an older `brownout up` could no longer use the directory."""

MIN_FREE_BYTES = 256 * 1024 * 1024


class Secrets(msgspec.Struct, frozen=True):
    """Made once, on the first start."""

    secret_key: str


class Ports(msgspec.Struct, frozen=True):
    """Kept from start to start, so that running SDKs find the servers again."""

    http: int = 0
    postgres: int = 0
    nats: int = 0


class DataDir:
    """`claim()` before anything else; `release()` at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def claim(self) -> None:
        """Makes the directory ours.

        Raises:
            StartError: not writable, full, in use by another `brownout up`, or of a newer format.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=private_mode())
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"cannot write to {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 32).decode(errors="replace").strip()
            self.release()
            raise StartError(f"brownout up already runs on {self.path} (process {holder or '?'})") from None
        self._check_format()
        self._check_space()
        self._write_lock()

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secrets(self) -> Secrets:
        file = self.path / "secrets.json"
        if not file.exists():
            made = Secrets(
                secret_key=secrets.token_urlsafe(32),
            )
            self.write_private("secrets.json", msgspec.json.encode(made))
        return self._read(file, Secrets)

    def ports(self) -> Ports:
        file = self.path / "ports.json"
        return self._read(file, Ports) if file.exists() else Ports()

    def keep_ports(self, ports: Ports) -> None:
        self.write_private("ports.json", msgspec.json.encode(ports))

    def write_private(self, name: str, content: bytes) -> Path:
        """Replaces a file atomically; nobody but the owner can read it."""
        file = self.path / name
        partial = self.path / f".{name}.{os.getpid()}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
        return file

    def _read(self, file: Path, type_: type[T]) -> T:
        try:
            return msgspec.json.decode(file.read_bytes(), type=type_)
        except (OSError, msgspec.DecodeError) as error:
            raise StartError(f"{file} is damaged: {error}") from None

    def _check_format(self) -> None:
        file = self.path / "format"
        try:
            found = int(file.read_text()) if file.exists() else FORMAT
        except ValueError:
            raise StartError(f"{file} is damaged: not a number") from None
        if found > FORMAT:
            raise StartError(
                f"{self.path} was written by a newer Brownout (format {found}; this one knows {FORMAT}): upgrade first"
            )
        if not file.exists():
            self.write_private("format", f"{FORMAT}\n".encode())

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.path).free
        if free < MIN_FREE_BYTES:
            raise StartError(
                f"not enough space for {self.path}: {free // 2**20} MB free, {MIN_FREE_BYTES // 2**20} MB needed"
            )

    def _write_lock(self) -> None:
        assert self._lock is not None
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            what = "no space left" if error.errno == errno.ENOSPC else error.strerror
            raise StartError(f"cannot write to {self.path}: {what}") from None
