"""Local passwords: argon2id (RFC 9106, second recommended option), judged by length as NIST SP 800-63B asks."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from controlplane.errors import Fault, InvalidInputError

_T = TypeVar("_T")

MIN_LENGTH = 12
MAX_LENGTH = 512
"""Long enough for any passphrase, short enough that hashing one is no attack."""

_MIN_DISTINCT = 5
_COMMON = frozenset(
    [
        "123456789012",
        "1234567890123",
        "12345678901234",
        "123456789012345",
        "1234567890123456",
        "password1234",
        "password12345",
        "passwordpassword",
        "qwertyuiop12",
        "qwertyuiop123",
        "1q2w3e4r5t6y",
        "1qaz2wsx3edc",
        "q1w2e3r4t5y6",
        "letmeinletmein",
        "administrator",
        "welcome12345",
        "iloveyou1234",
        "changeme1234",
        "adminadminadmin",
        "unknownunknown",
    ]
)
"""The common passwords that are long enough to pass; the rest of such lists fails on length alone."""


def check_password(password: str, *, about: tuple[str, ...] = ()) -> None:
    """Raises InvalidInputError when `password` is too weak to accept. `about`: words not to be built around."""
    lowered = password.lower()
    if len(password) < MIN_LENGTH:
        fault = Fault("too_short", f"use at least {MIN_LENGTH} characters; a few words make a good one", "/password")
    elif len(password) > MAX_LENGTH:
        fault = Fault("too_long", f"use at most {MAX_LENGTH} characters", "/password")
    elif lowered in _COMMON or len(set(lowered)) < _MIN_DISTINCT:
        fault = Fault("too_common", "that password is one of the first anybody would try", "/password")
    elif any(word and lowered.replace(word.lower(), "", 1).strip("0123456789!.-_") == "" for word in about):
        fault = Fault("too_obvious", "do not build the password from your name or address", "/password")
    else:
        return
    raise InvalidInputError(fault.message, (fault,))


class Passwords:
    """Hashes in worker threads, at most `parallel` at once: each needs 64 MiB."""

    def __init__(self, hasher: PasswordHasher | None = None, *, parallel: int = 2) -> None:
        self._hasher = hasher or PasswordHasher()
        self._slots = asyncio.Semaphore(parallel)
        self._decoy = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        return await self._in_thread(partial(self._hasher.hash, password))

    async def matches(self, stored: str | None, password: str) -> bool:
        """Takes as long for an account that does not exist (`stored` None) as for a wrong password."""
        found = await self._in_thread(partial(self._verify, stored or self._decoy, password[: MAX_LENGTH + 1]))
        return found and stored is not None

    def outdated(self, stored: str) -> bool:
        """Whether `stored` was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        async with self._slots:
            return await asyncio.to_thread(call)
