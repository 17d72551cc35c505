"""Changing the key that signs what SDKs hear, so that none of them ever refuses a good message (ADR 0064).

The next key is announced in the key chain, signed by the present one; SDKs that meet a signature they do not know look
there. It signs only after an overlap in which the chain is published and every replica has seen it.
"""

import asyncio
from datetime import datetime, timedelta

import msgspec
import structlog

from controlplane.access.actor import Action, Actor, authorize, system_actor
from controlplane.access.audit import Audit
from controlplane.access.queries import signing as queries
from controlplane.access.values import Event
from controlplane.configuration.store import SigningKeys, lock_environment
from controlplane.errors import BrownoutError, ConflictError, Fault, InvalidInputError
from controlplane.kit.apart import Turn
from controlplane.kit.background import beat, words
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database

log = structlog.get_logger(__name__)

SHORTEST = timedelta(seconds=60)
"""Publishers compare the published key chain every 30 s at the latest (publish/parts.py)."""

LONGEST = timedelta(days=30)
_TICK_S = 1.0
_ROTATION = system_actor("system:rotation")


class Rotation(msgspec.Struct, frozen=True):
    """`next_kid` is announced; it signs from `switch_at`."""

    environment: str
    kid: str
    next_kid: str
    switch_at: datetime


class SigningRotation:
    def __init__(self, database: Database, clock: Clock, audit: Audit, keys: SigningKeys) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit
        self._keys = keys
        self._trouble = ""
        """Which environment could not switch the last time, and why."""

    async def announce(self, actor: Actor, environment: str, overlap: timedelta) -> Rotation:
        """Makes the next key and says so in the key chain.

        Raises:
            ConflictError: one is announced already.
        """
        authorize(actor, Action.MANAGE_KEYS, environment)
        if not SHORTEST <= overlap <= LONGEST:
            message = f"between {SHORTEST.seconds} seconds and {LONGEST.days} days"
            raise InvalidInputError(message, (Fault("invalid_value", message, "/overlap_s"),))
        present = await self._keys.current(environment)
        now = self._clock.now()
        async with self._database.transaction() as connection:
            await lock_environment(connection, environment)
            if await queries.announced(connection, environment) is not None:
                raise ConflictError("a next key is announced already; it switches by itself")
            made = await self._keys.create(connection, environment, now, by=present)
            await queries.announce(connection, environment, made.kid, now + overlap)
            await self._audit.record(
                connection, Event.SIGNING_KEY_ANNOUNCED, actor, environment=environment, target=made.kid,
                detail={"overlap_s": int(overlap.total_seconds())},
            )  # fmt: skip
        return Rotation(environment, present.kid, made.kid, now + overlap)

    async def switch_due(self) -> int:
        """Lets every announced key whose time has come sign; returns how many. Replicas may do it at once."""
        async with self._database.reading() as connection:
            due = await queries.due(connection, self._clock.now())
        turn = Turn("signing_keys")
        for environment, kid in due:
            with turn.item(environment):
                await self._switch(environment, kid)
        self._trouble = turn.trouble
        return len(due)

    async def _switch(self, environment: str, kid: str) -> None:
        async with self._database.transaction() as connection:
            await lock_environment(connection, environment)  # nothing is signed until it is done
            if await queries.take(connection, environment, kid):
                await self._keys.sign_with(connection, environment, kid)
                await self._audit.record(
                    connection, Event.SIGNING_KEY_SWITCHED, _ROTATION, environment=environment, target=kid
                )

    async def run(self) -> None:
        while True:
            beat("signing_keys")
            try:
                await self.switch_due()
                trouble = self._trouble
            except BrownoutError as error:
                log.debug("cannot look for due signing keys", error=error.message)
                trouble = words(error)
            beat("signing_keys", _TICK_S, trouble)
            await asyncio.sleep(_TICK_S)
