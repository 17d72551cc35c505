"""Local passwords as they are kept: argon2id (RFC 9106, second recommended option)."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from controlplane.access.password_rules import MAX_LENGTH

_T = TypeVar("_T")


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
