"""Credential → Actor."""

from datetime import datetime, timedelta

import msgspec

from controlplane.access import tokens
from controlplane.access.actor import Actor, Role
from controlplane.access.bounds import Bounds
from controlplane.access.grants import narrowed, parse
from controlplane.access.memory import ActorMemory
from controlplane.access.queries import credentials, people
from controlplane.access.queries.credentials import TokenRow
from controlplane.access.sessions import Sessions
from controlplane.access.traffic import KeyUse
from controlplane.clock import Clock
from controlplane.database import Database, ReadConnection
from controlplane.errors import SignInAgainError, UnauthenticatedError

_TOUCH_EVERY = timedelta(minutes=1)


class Authenticator:
    def __init__(
        self, database: Database, clock: Clock, sessions: Sessions, memory: ActorMemory, bounds: Bounds
    ) -> None:
        self._bounds = bounds
        self._database = database
        self._clock = clock
        self._sessions = sessions
        self._memory = memory

    async def by_bearer(self, text: str, address: str) -> Actor:
        """The holder of an API token, or of an SDK key (whole, or its secret part).

        Raises:
            UnauthenticatedError: malformed, unknown, expired or revoked: always the same words.
        """
        secret = text.partition(".")[0]
        actor: Actor | None = None
        if tokens.well_formed(text, "bo_api_"):
            digest = tokens.digest(text)
            actor = self._memory.recall(digest) or self._memory.keep(digest, await self._token(digest))
        elif tokens.well_formed(secret, "bo_sdk_"):
            digest = tokens.digest(secret)
            actor = self._memory.recall(digest) or self._memory.keep(digest, await self._key(digest))
        if actor is None:
            raise UnauthenticatedError("that token is not known here, has expired or was revoked")
        return _from(actor, address)

    async def by_session(self, cookie: str, address: str) -> Actor | None:
        """Whose browser it is; None when the session is over."""
        digest = tokens.digest(cookie)
        actor = self._memory.recall(digest) or self._memory.keep(digest, await self._session(cookie))
        return _from(actor, address) if actor else None

    async def _token(self, digest: str) -> Actor | None:
        now = self._clock.now()
        async with self._database.reading() as connection:
            row = await credentials.find_token(connection, digest)
            if row is None or (row.expires_at is not None and row.expires_at <= now):
                return None
            actor = await self._holder(connection, row, self._bounds.tokens_since(now))
            if actor is None:
                return None
        if row.used_at is None or now - row.used_at >= _TOUCH_EVERY:
            async with self._database.writing() as connection:
                await credentials.touch_token(connection, row.id, now)
        return actor

    @staticmethod
    async def _holder(connection: ReadConnection, row: TokenRow, confirmed_since: datetime) -> Actor | None:
        """What of its scope the person behind a token holds now; what no person made has what it was given."""
        scope, machine = parse(row.grants), row.owner is None
        if row.person is None:
            return Actor("token", row.name, scope, credential=row.id, machine=True)
        person = await people.by_id(connection, row.person)
        if person is None or person.disabled_at is not None:
            return None
        if person.subject is not None and person.password is None:
            known = await people.sso(connection, person.id)
            if known is None or known.confirmed_at is None or known.confirmed_at <= confirmed_since:
                return None
        held = await people.held(connection, person.id, confirmed_since)
        name = row.name if machine else person.email
        return Actor("token", name, narrowed(held, scope), person=person.id, credential=row.id, machine=machine)

    async def _key(self, digest: str) -> Actor | None:
        now = self._clock.now()
        async with self._database.reading() as connection:
            row = await credentials.find_key(connection, digest)
        if row is None or (row.expires_at is not None and row.expires_at <= now):
            return None
        if row.used_at is None or now - row.used_at >= _TOUCH_EVERY:
            async with self._database.writing() as connection:
                await credentials.touch_key(connection, row.id, now)
        return Actor("sdk", f"sdk:{row.name}", {row.environment: frozenset({_role(row.uses)})}, credential=row.id)

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
            held = await people.held(connection, person.id, since)
        return Actor("person", person.email, held, person=person.id, credential=session.id)


def _role(uses: tuple[str, ...]) -> Role:
    return Role.SDK if set(uses) == set(KeyUse) else Role(f"sdk_{uses[0]}")


def _from(actor: Actor, address: str) -> Actor:
    return msgspec.structs.replace(actor, address=address) if address else actor
