"""Sealing again, under the present secret key, what an earlier one sealed; so that the earlier one can be dropped."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog

from controlplane.errors import BrownoutError
from controlplane.kit.apart import Turn
from controlplane.kit.background import beat, words
from controlplane.kit.database import Database, ReadConnection, WriteConnection
from controlplane.kit.secret_box import SecretBox, SecretKeyError

log = structlog.get_logger(__name__)

PERIOD_S = 600.0
SEALING_S = 60.0
"""How long sealing thousands of secrets again may take."""


class Sealed(msgspec.Struct, frozen=True):
    """One secret at rest: where it is kept, the label that it was sealed with, its bytes."""

    key: tuple[str, ...]
    label: str
    sealed: bytes


class Vault(msgspec.Struct, frozen=True):
    """One table of secrets. `replace` writes new bytes unless the old ones have changed meanwhile."""

    name: str
    box: SecretBox
    read: Callable[[ReadConnection], Awaitable[list[Sealed]]]
    replace: Callable[[WriteConnection, Sealed, bytes], Awaitable[None]]
    needed: bool = True
    """Without it nothing works; what is not needed is made anew by those whom it concerns."""


class SealStatus(msgspec.Struct, frozen=True):
    """How many secrets there are, how many still need a previous key, how many no key opens."""

    secrets: int = 0
    previous: int = 0
    lost: int = 0


class Resealing:
    def __init__(self, database: Database, vaults: tuple[Vault, ...]) -> None:
        self._database = database
        self._vaults = vaults
        self._trouble = ""
        """Which secret could not be sealed again the last time, and why."""

    async def status(self) -> Mapping[str, SealStatus]:
        """By the name of each vault."""
        async with self._database.reading() as connection:
            return {vault.name: _count(vault.box, await vault.read(connection)) for vault in self._vaults}

    async def check(self) -> None:
        """Raises SecretKeyError, in one sentence, when a secret cannot be opened with the keys there are."""
        lost = {
            vault.name: found.lost
            for vault, found in zip(self._vaults, (await self.status()).values(), strict=True)
            if vault.needed and found.lost
        }
        if lost:
            what = ", ".join(f"{number} of the {name}" for name, number in lost.items())
            raise SecretKeyError(
                f"neither BROWNOUT_SECRET_KEY nor BROWNOUT_SECRET_KEY_PREVIOUS opens {what} in this database: "
                "add the key that sealed them to BROWNOUT_SECRET_KEY_PREVIOUS"
            )

    async def reseal(self) -> int:
        """Seals again whatever a previous key sealed; returns how many. Replicas may do it at once."""
        done, turn = 0, Turn("sealing")
        for vault in self._vaults:
            with turn.item(vault.name):
                async with self._database.reading() as connection:
                    found = await vault.read(connection)
                for each in found:
                    with turn.item(f"{vault.name} {each.label}"):
                        done += await self._reseal(vault, each)
        self._trouble = turn.trouble
        return done

    async def _reseal(self, vault: Vault, each: Sealed) -> bool:
        """Raises SecretKeyError when no known key opens it."""
        fresh = vault.box.resealed(each.sealed, each.label)
        if fresh is None:
            return False
        async with self._database.transaction() as connection:
            await vault.replace(connection, each, fresh)
        return True

    async def run(self) -> None:
        while True:
            beat("sealing", SEALING_S)
            try:
                if done := await self.reseal():
                    log.info("secrets are sealed with the present key now", secrets=done)
                trouble = self._trouble
            except BrownoutError as error:
                log.debug("cannot look for secrets to seal again", error=error.message)
                trouble = words(error)
            beat("sealing", PERIOD_S, trouble)
            await asyncio.sleep(PERIOD_S)


def _count(box: SecretBox, found: list[Sealed]) -> SealStatus:
    previous = lost = 0
    for each in found:
        try:
            previous += box.resealed(each.sealed, each.label) is not None
        except SecretKeyError:
            lost += 1
    return SealStatus(len(found), previous, lost)
