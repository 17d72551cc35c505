"""SDK keys: made, listed, rotated with overlap, revoked. Shown once, kept as digests."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import msgspec

from brownout.wire import SdkKey
from controlplane.access.actor import Action, Actor, authorize
from controlplane.access.audit import Audit
from controlplane.access.memory import ActorMemory
from controlplane.access.names import checked_label, invalid
from controlplane.access.queries import credentials
from controlplane.access.traffic import ALL_USES, KeyUse
from controlplane.access.values import Event, KeyRow
from controlplane.configuration.store import SigningKeys
from controlplane.errors import ConflictError, NotFoundError
from controlplane.kit import tokens
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database

OVERLAP = timedelta(days=1)
"""How long a rotated key goes on working unless told otherwise."""


class NewKey(msgspec.Struct, frozen=True):
    """`key` is what an SDK is given: `bo_sdk_<secret>.<kid>.<public key>`. It is shown now and never again."""

    id: str
    environment: str
    name: str
    key: str
    expires_at: datetime | None
    uses: tuple[KeyUse, ...] = ALL_USES

    def __repr__(self) -> str:
        return f"NewKey({self.id})"


class SdkKeys:
    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        audit: Audit,
        memory: ActorMemory,
        signing: SigningKeys,
        new_id: Callable[[], str],
    ) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit
        self._memory = memory
        self._signing = signing
        self._new_id = new_id

    async def list_keys(self, actor: Actor, environment: str) -> list[KeyRow]:
        authorize(actor, Action.MANAGE_KEYS, environment)
        async with self._database.reading() as connection:
            return await credentials.keys(connection, environment)

    async def create(
        self,
        actor: Actor,
        environment: str,
        name: str,
        *,
        expires_at: datetime | None = None,
        uses: Iterable[KeyUse] = ALL_USES,
    ) -> NewKey:
        """Raises ForbiddenError, NotFoundError (no such environment), InvalidInputError."""
        authorize(actor, Action.MANAGE_KEYS, environment)
        wanted = set(uses)
        if not wanted:
            raise invalid("uses", "a key is for evaluate, for report, or for both")
        ordered = tuple(use for use in ALL_USES if use in wanted)
        return await self._make(actor, environment, name, expires_at, ordered)

    async def rotate(self, actor: Actor, environment: str, key_id: str, *, overlap: timedelta = OVERLAP) -> NewKey:
        """A new key of the same name; the old one goes on working for `overlap`."""
        row = await self._found(actor, environment, key_id)
        if row.revoked_at is not None:
            raise ConflictError("that key is revoked; make a new one")
        if not timedelta(0) <= overlap <= timedelta(days=90):
            raise invalid("overlap", "the overlap is between nothing and 90 days")
        old_ends = self._clock.now() + overlap
        return await self._make(actor, row.environment, row.name, row.expires_at, row.uses, replaces=(key_id, old_ends))

    async def revoke(self, actor: Actor, environment: str, key_id: str, reason: str = "") -> None:
        """Within a second nothing that showed this key is connected or answered."""
        row = await self._found(actor, environment, key_id)
        async with self._database.transaction() as connection:
            if await credentials.revoke_key(connection, key_id, self._clock.now()):
                await self._audit.record(
                    connection, Event.KEY_REVOKED, actor, environment=row.environment, target=row.name, reason=reason,
                    detail={"key": key_id},
                )  # fmt: skip
        self._memory.forget()

    async def _make(
        self,
        actor: Actor,
        environment: str,
        name: str,
        expires_at: datetime | None,
        uses: tuple[KeyUse, ...],
        *,
        replaces: tuple[str, datetime] | None = None,
    ) -> NewKey:
        """`replaces`: the id of an older key, and when that ends."""
        clean, secret = checked_label(name), tokens.mint("bo_sdk_")
        signing = await self._signing.current(environment)
        now = self._clock.now()
        _check_future(expires_at, now)
        row = KeyRow(self._new_id(), secret.hint, environment, clean, actor.name, now, expires_at, None, None, uses)
        async with self._database.transaction() as connection:
            await credentials.insert_key(connection, row, secret.digest)
            detail: dict[str, str | int] = {"key": row.id, "uses": ", ".join(uses)}
            if replaces is not None:
                await credentials.expire_key(connection, *replaces)
                detail["replaces"] = replaces[0]
            event = Event.KEY_ROTATED if replaces else Event.KEY_CREATED
            await self._audit.record(connection, event, actor, environment=environment, target=clean, detail=detail)
        whole = SdkKey.format(secret.text, signing.kid, signing.public)
        return NewKey(row.id, environment, clean, whole, expires_at, uses)

    async def _found(self, actor: Actor, environment: str, key_id: str) -> KeyRow:
        authorize(actor, Action.MANAGE_KEYS, environment)
        async with self._database.reading() as connection:
            row = await credentials.key(connection, key_id)
        if row is None or row.environment != environment:
            raise NotFoundError(f"{environment} has no such key")
        return row


def _check_future(at: datetime | None, now: datetime) -> None:
    if at is not None and at <= now:
        raise invalid("expires_at", "that is in the past")
