"""Credential → Actor."""

from datetime import datetime, timedelta

import msgspec

from brownout.wire import fingerprint
from controlplane.access.actor import Actor, Grants, Role
from controlplane.access.address_rules import AddressRules
from controlplane.access.bounds import Bounds
from controlplane.access.grants import narrowed, parse
from controlplane.access.memory import ActorMemory
from controlplane.access.queries import credentials, factors, people
from controlplane.access.queries.factors import Held
from controlplane.access.queries.people import PersonRow
from controlplane.access.second_factor_rule import Requirement, requires
from controlplane.access.sessions import Sessions
from controlplane.access.traffic import KeyUse
from controlplane.access.values import TokenRow
from controlplane.errors import SignInAgainError, UnauthenticatedError
from controlplane.kit import tokens
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, ReadConnection

_TOUCH_EVERY = timedelta(minutes=1)


class StrengthRules(msgspec.Struct, frozen=True):
    """`requirement`: who needs a second factor, after `grace`; `fresh`: how long a proof counts as fresh."""

    requirement: Requirement = frozenset()
    grace: timedelta = timedelta(days=7)
    fresh: timedelta = timedelta(minutes=15)


class Authenticator:
    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        sessions: Sessions,
        memory: ActorMemory,
        addresses: AddressRules,
        rules: StrengthRules,
        bounds: Bounds,
    ) -> None:
        self._addresses = addresses
        self._rules = rules
        self._bounds = bounds
        self._database = database
        self._clock = clock
        self._sessions = sessions
        self._memory = memory

    async def by_bearer(self, text: str, address: str) -> Actor:
        """The holder of an API token, or of an SDK key (whole, or its secret part).

        Raises:
            UnauthenticatedError: malformed, unknown, expired or revoked: always the same words.
            AddressNotAllowedError: not from this address.
        """
        secret = text.partition(".")[0]
        actor: Actor | None = None
        if tokens.well_formed(text, "bo_api_"):
            digest = tokens.digest(text)
            actor = self._memory.recall(digest) or self._memory.keep(digest, await self._token(digest))
        elif tokens.well_formed(secret, "bo_sdk_"):
            digest = tokens.digest(secret)
            actor = self._memory.recall(digest) or self._memory.keep(digest, await self._key(digest, secret))
        if actor is None:
            raise UnauthenticatedError("that token is not known here, has expired or was revoked")
        return await self._from(actor, address)

    async def by_session(self, cookie: str, address: str) -> Actor | None:
        """Whose browser it is; None when the session is over. Raises AddressNotAllowedError."""
        digest = tokens.digest(cookie)
        actor = self._memory.recall(digest) or self._memory.keep(digest, await self._session(cookie))
        return await self._from(actor, address) if actor else None

    async def _token(self, digest: str) -> Actor | None:
        now = self._clock.now()
        async with self._database.reading() as connection:
            row = await credentials.find_token(connection, digest)
            if row is None or (row.expires_at is not None and row.expires_at <= now):
                return None
            actor = await self._holder(connection, row, now)
            if actor is None:
                return None
        if row.used_at is None or now - row.used_at >= _TOUCH_EVERY:
            async with self._database.writing() as connection:
                await credentials.touch_token(connection, row.id, now)
        return actor

    async def _holder(self, connection: ReadConnection, row: TokenRow, now: datetime) -> Actor | None:
        """What of its scope the person behind a token holds now; what no person made has what it was given."""
        scope, machine, confirmed_since = parse(row.grants), row.owner is None, self._bounds.tokens_since(now)
        if row.person is None:
            return Actor(
                "token", row.name, scope, credential=row.id, machine=True, stale=not row.sensitive,
                networks=row.networks,
            )  # fmt: skip
        person = await people.by_id(connection, row.person)
        if person is None or person.disabled_at is not None:
            return None
        if person.subject is not None and person.password is None:
            known = await people.sso(connection, person.id)
            if known is None or known.confirmed_at is None or known.confirmed_at <= confirmed_since:
                return None
        grants = await people.held(connection, person.id, confirmed_since)
        narrow = narrowed(grants, scope)
        if machine:
            return Actor(
                "token", row.name, narrow, person=person.id, credential=row.id, machine=True, stale=not row.sensitive,
                networks=row.networks,
            )  # fmt: skip
        held = await factors.held(connection, person.id)
        due = await self._due(person, held, grants, by_sso=not held.password)
        fresh = row.sensitive or (row.proven_at is not None and now - row.proven_at < self._rules.fresh)
        return Actor(
            "token", person.email, narrow, person=person.id, credential=row.id, stage="enrol" if due else "",
            stale=not fresh, proofs=_without_sso(held), networks=row.networks,
        )  # fmt: skip

    async def _key(self, digest: str, secret: str) -> Actor | None:
        now = self._clock.now()
        async with self._database.reading() as connection:
            row = await credentials.find_key(connection, digest)
        if row is None or (row.expires_at is not None and row.expires_at <= now):
            return None
        if row.used_at is None or now - row.used_at >= _TOUCH_EVERY:
            async with self._database.writing() as connection:
                await credentials.touch_key(connection, row.id, now)
        return Actor(
            "sdk", f"sdk:{row.name}", {row.environment: frozenset({_role(row.uses)})}, credential=row.id,
            sdk_key=fingerprint(secret),
        )  # fmt: skip

    async def _session(self, cookie: str) -> Actor | None:
        """Raises SignInAgainError when the identity provider has not confirmed for too long who opened it."""
        session = await self._sessions.find(cookie)
        if session is None:
            return None
        since = self._bounds.session_since(self._clock.now())
        async with self._database.reading() as connection:
            person = await people.by_id(connection, session.person)
            if person is None or person.disabled_at is not None:
                return None
            if session.method == "sso":
                known = await people.sso(connection, person.id)
                if known is None or known.confirmed_at is None or known.confirmed_at <= since:
                    raise SignInAgainError("your identity provider has not confirmed you for a while; sign in again")
            grants = await people.held(connection, person.id, since)
            held = await factors.held(connection, person.id)
            due = await self._due(person, held, grants, by_sso=session.method == "sso")
        waiting = session.stage == "factor"
        return Actor(
            "person", person.email, {} if waiting or due else grants, person=person.id, credential=session.id,
            stage="factor" if waiting else "enrol" if due else "",
            stale=self._clock.now() - session.proven_at >= self._rules.fresh,
            proofs=_without_sso(held) if waiting else held.proofs,
        )  # fmt: skip

    async def _due(self, person: PersonRow, held: Held, grants: Grants, *, by_sso: bool) -> bool:
        """Whether they must set up a second factor before anything else. The first time, their grace begins.

        A provider of single sign-on answers for those who come by it.
        """
        if held.factor or by_sso or not requires(self._rules.requirement, grants):
            return False
        now, due = self._clock.now(), person.second_factor_due
        if due is None:
            due = now + self._rules.grace
            async with self._database.writing() as writing:
                await people.set_second_factor_due(writing, person.id, due)
        return due <= now

    async def _from(self, actor: Actor, address: str) -> Actor:
        if not address:
            return actor
        return await self._addresses.admit(msgspec.structs.replace(actor, address=address))


def _role(uses: tuple[str, ...]) -> Role:
    return Role.SDK if set(uses) == set(KeyUse) else Role(f"sdk_{uses[0]}")


def _without_sso(held: Held) -> tuple[str, ...]:
    return tuple(proof for proof in held.proofs if proof != "sso")
