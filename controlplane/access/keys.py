"""SDK keys and API tokens: made, listed, rotated with overlap, revoked. Shown once, kept as digests."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from brownout.wire import SdkKey
from controlplane.access import tokens
from controlplane.access.actor import ANY_ENVIRONMENT, Action, Actor, allows, authorize, require_fresh
from controlplane.access.address_rules import checked_networks
from controlplane.access.audit import Audit, Event
from controlplane.access.grants import EVERYTHING, parse, plain, require_covered, require_within
from controlplane.access.memory import ActorMemory
from controlplane.access.queries import credentials
from controlplane.access.queries.credentials import KeyRow, TokenRow
from controlplane.clock import Clock
from controlplane.database import Database
from controlplane.errors import ConflictError, Fault, ForbiddenError, InvalidInputError, NotFoundError
from controlplane.store import SigningKeys

OVERLAP = timedelta(days=1)
"""How long a rotated key goes on working unless told otherwise."""

_MAX_NAME = 80


class NewKey(msgspec.Struct, frozen=True):
    """`key` is what an SDK is given: `bo_sdk_<secret>.<kid>.<public key>`. It is shown now and never again."""

    id: str
    environment: str
    name: str
    key: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"NewKey({self.id})"


class NewToken(msgspec.Struct, frozen=True):
    """`token` is shown now and never again."""

    id: str
    name: str
    token: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"NewToken({self.id})"


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

    async def create(self, actor: Actor, environment: str, name: str, *, expires_at: datetime | None = None) -> NewKey:
        """Raises ForbiddenError, NotFoundError (no such environment), InvalidInputError."""
        authorize(actor, Action.MANAGE_KEYS, environment)
        return await self._make(actor, environment, name, expires_at)

    async def rotate(self, actor: Actor, environment: str, key_id: str, *, overlap: timedelta = OVERLAP) -> NewKey:
        """A new key of the same name; the old one goes on working for `overlap`."""
        row = await self._found(actor, environment, key_id)
        if row.revoked_at is not None:
            raise ConflictError("that key is revoked; make a new one")
        if not timedelta(0) <= overlap <= timedelta(days=90):
            raise _invalid("overlap", "the overlap is between nothing and 90 days")
        old_ends = self._clock.now() + overlap
        return await self._make(actor, row.environment, row.name, row.expires_at, (key_id, old_ends))

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
        replaces: tuple[str, datetime] | None = None,
    ) -> NewKey:
        """`replaces`: the id of an older key, and when that ends."""
        clean, secret = _name(name), tokens.mint("bo_sdk_")
        signing = await self._signing.current(environment)
        now = self._clock.now()
        _check_future(expires_at, now)
        row = KeyRow(self._new_id(), secret.hint, environment, clean, actor.name, now, expires_at, None, None)
        async with self._database.transaction() as connection:
            await credentials.insert_key(connection, row, secret.digest)
            detail: dict[str, str | int] = {"key": row.id}
            if replaces is not None:
                await credentials.expire_key(connection, *replaces)
                detail["replaces"] = replaces[0]
            event = Event.KEY_ROTATED if replaces else Event.KEY_CREATED
            await self._audit.record(connection, event, actor, environment=environment, target=clean, detail=detail)
        whole = SdkKey.format(secret.text, signing.kid, signing.public)
        return NewKey(row.id, environment, clean, whole, expires_at)

    async def _found(self, actor: Actor, environment: str, key_id: str) -> KeyRow:
        authorize(actor, Action.MANAGE_KEYS, environment)
        async with self._database.reading() as connection:
            row = await credentials.key(connection, key_id)
        if row is None or row.environment != environment:
            raise NotFoundError(f"{environment} has no such key")
        return row


class _Terms(msgspec.Struct, frozen=True):
    lasts: timedelta | None
    sensitive: bool
    networks: Iterable[str]


class ApiTokens:
    """A personal token does what its owner may, at most; a service token has roles of its own."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        audit: Audit,
        memory: ActorMemory,
        new_id: Callable[[], str],
        *,
        longest: timedelta,
    ) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit
        self._memory = memory
        self._new_id = new_id
        self._longest = longest

    async def list_tokens(self, actor: Actor, *, everybody: bool = False) -> list[TokenRow]:
        """The actor's own personal tokens, or all there are."""
        if everybody:
            authorize(actor, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)
        elif not actor.human:
            return []
        async with self._database.reading() as connection:
            return await credentials.tokens(connection, None if everybody else actor.human)

    async def create_personal(
        self,
        actor: Actor,
        name: str,
        *,
        scope: Mapping[str, Iterable[str]] | None = None,
        lasts: timedelta = timedelta(days=90),
        sensitive: bool = False,
        networks: Iterable[str] = (),
    ) -> NewToken:
        """For one's own use, e.g. by the CLI. `scope` None: everything its owner may do; what is sensitive (ADR 0067)
        only with `sensitive`. `networks`: where it works; empty = anywhere.

        Raises:
            StepUpRequiredError: making one needs a fresh proof.
            ForbiddenError: the scope is wider than what its owner holds at this moment.
        """
        if not actor.person or actor.kind != "person":
            raise ForbiddenError("only a person who is signed in makes personal tokens")
        require_fresh(actor)
        grants = EVERYTHING if scope is None else parse(scope)
        if scope is not None:
            require_within(actor.grants, grants)
        return await self._make(actor, name, plain(grants), actor.person, _Terms(lasts, sensitive, networks))

    async def create_service(
        self,
        actor: Actor,
        name: str,
        grants: Mapping[str, Iterable[str]],
        *,
        lasts: timedelta | None = None,
        sensitive: bool = False,
        networks: Iterable[str] = (),
    ) -> NewToken:
        """For a machine; `sensitive` and `networks` as for personal ones. Raises ForbiddenError unless the actor manages keys there and holds what it gives."""
        wanted = parse(grants)
        if not wanted:
            raise _invalid("grants", "a service token needs a role somewhere")
        for environment in wanted:
            authorize(actor, Action.MANAGE_KEYS, environment)
        require_covered(actor.grants, wanted)
        return await self._make(actor, name, plain(wanted), None, _Terms(lasts, sensitive, networks))

    async def revoke(self, actor: Actor, token_id: str, reason: str = "") -> None:
        """Raises NotFoundError when there is none that the actor may end, StepUpRequiredError."""
        require_fresh(actor)
        async with self._database.transaction() as connection:
            row = await credentials.token(connection, token_id)
            mine = row is not None and bool(actor.human) and row.owner == actor.human
            if row is None or not (mine or allows(actor.grants, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)):
                raise NotFoundError("there is no such token")
            if await credentials.revoke_token(connection, token_id, self._clock.now()):
                await self._audit.record(
                    connection, Event.TOKEN_REVOKED, actor, target=row.name, reason=reason, detail={"token": token_id}
                )
        self._memory.forget()

    async def _make(
        self, actor: Actor, name: str, grants: dict[str, list[str]], owner: str | None, terms: _Terms
    ) -> NewToken:
        lasts = terms.lasts
        if lasts is not None and not timedelta(0) < lasts <= self._longest:
            raise _invalid("lasts_s", f"a token lasts at most {self._longest.days} days")
        secret, now, clean = tokens.mint("bo_api_"), self._clock.now(), _name(name)
        ends = None if lasts is None else now + lasts
        row = TokenRow(
            self._new_id(), secret.hint, clean, owner, actor.name, actor.person or None, grants, now, ends, None, None,
            terms.sensitive, None, checked_networks(terms.networks),
        )  # fmt: skip
        async with self._database.transaction() as connection:
            await credentials.insert_token(connection, row, secret.digest)
            detail: dict[str, str | int] = {"token": row.id, "sensitive": int(terms.sensitive)}
            await self._audit.record(connection, Event.TOKEN_CREATED, actor, target=clean, detail=detail)
        return NewToken(row.id, clean, secret.text, ends)


def _name(name: str) -> str:
    clean = " ".join(name.split())
    if not 1 <= len(clean) <= _MAX_NAME or not clean.isprintable():
        raise _invalid("name", f"a name has 1 to {_MAX_NAME} printable characters")
    return clean


def _check_future(at: datetime | None, now: datetime) -> None:
    if at is not None and at <= now:
        raise _invalid("expires_at", "that is in the past")


def _invalid(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(message, (Fault("invalid_value", message, f"/{field}"),))
