"""The host's own switch: safe mode by the owner of a host, who needs neither a network nor a signature.

`BROWNOUT_SAFE_MODE` names a profile for the life of the process. A file does the same for as long as it exists: its first
word is the profile, and what follows is the reason (docs/adr/0201).
"""

import os
import stat
from pathlib import Path
from typing import NamedTuple

MAX_BYTES = 4_096
DEFAULT_FILE = Path("/run/brownout/safe-mode")
OFF = frozenset({"", "off"})
"""Values that switch nothing on."""
REASON = "switched on by the owner of this host"
_MAX_REASON = 500


class Switched(NamedTuple):
    """`profile` may be empty, or name one that does not exist: then the strictest applies."""

    key: str
    profile: str
    reason: str


class HostSwitch:
    """`look` reads again; `switched` holds what is on. A file that exists and cannot be read is on."""

    def __init__(self, named: str = "", file: Path | None = None) -> None:
        named = named.strip()
        self._by_variable = () if named.casefold() in OFF else (_switched("host:variable", named),)
        self._file = file
        self._seen: tuple[int, ...] | None = None
        self._by_file: tuple[Switched, ...] = ()

    @property
    def switched(self) -> tuple[Switched, ...]:
        return (*self._by_variable, *self._by_file)

    @property
    def watches(self) -> bool:
        return self._file is not None

    def look(self) -> bool:
        """Returns whether anything has changed. Never blocks on what the file may be, never raises."""
        if self._file is None:
            return False
        before = self._by_file
        try:
            seen = _seen(self._file)
        except OSError:
            return False  # nobody can say whether it is there
        if seen is None:
            self._seen, self._by_file = None, ()
        elif seen != self._seen:
            text = _read(self._file)
            self._seen = None if text is None else seen  # read again until it can be read
            self._by_file = (_switched("host:file", text or ""),)
        return self._by_file != before


def _switched(key: str, text: str) -> Switched:
    profile, _, reason = text.strip().partition("\n")
    profile, _, rest = profile.strip().partition(" ")
    said = " ".join(f"{rest} {reason}".split())[:_MAX_REASON]
    return Switched(key, profile.strip(":"), said or REASON)


def _seen(path: Path) -> tuple[int, ...] | None:
    """What tells one content from the next; None without a file. Raises OSError if nobody can say."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        try:
            found = path.lstat()  # a link to nowhere is there
        except (FileNotFoundError, NotADirectoryError):
            return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


def _read(path: Path) -> str | None:
    """The beginning of its text; None if it cannot be read."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                return None
            return os.read(number, MAX_BYTES).decode("utf-8", "replace")
        finally:
            os.close(number)
    except OSError:
        return None
