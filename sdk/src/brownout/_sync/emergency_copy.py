"""The emergency messages of a host on its disk: what was lifted stays lifted after a restart, and what is on stays on while
no control plane is there to say it again. Signed like the rest, and verified again when it is read."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from brownout.wire.bundle import Signed

MAX_BYTES = 16 * 1024 * 1024
MAX_MESSAGES = 1_000


def _newest(messages: Iterable[Signed]) -> tuple[Signed, ...]:
    """As many of the last ones as the file may hold."""
    kept: list[Signed] = []
    left = MAX_BYTES // 2  # JSON makes bytes a third longer
    for message in reversed(tuple(messages)):
        left -= len(message.payload) + len(message.signature) + 16
        if left < 0 or len(kept) == MAX_MESSAGES:
            break
        kept.append(message)
    return tuple(reversed(kept))


class EmergencyCopy:
    """One file beside the disk copy, which all processes of the host read and add to."""

    def __init__(self, disk: Path) -> None:
        self.path = disk.with_suffix(".emergency")
        self.saved = 0
        """The version that was written last."""

    def load(self) -> tuple[Signed, ...]:
        """Nothing if there is no file, or none that can be read. Nothing in it is trusted yet."""
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                return ()
            return msgspec.json.decode(content, type=tuple[Signed, ...])[-MAX_MESSAGES:]
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return ()

    def keep(self, messages: Iterable[Signed], version: int) -> None:
        """Writes `messages`, which are what `version` holds, together with what others of this host wrote. Two that write
        at the same moment may lose a message of each other's, which comes again with the next heartbeat. Raises
        OSError."""
        known = _newest(dict.fromkeys((*self.load(), *messages)))
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self.path.with_suffix(f".emergency.{os.getpid()}")
        try:
            number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(number, "wb") as file:
                file.write(msgspec.json.encode(known))
            partial.replace(self.path)
        finally:
            with suppress(OSError):
                partial.unlink()
        self.saved = version
