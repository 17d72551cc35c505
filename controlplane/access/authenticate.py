"""Credential → Actor."""

from datetime import timedelta

import msgspec

from controlplane.access import tokens
from controlplane.access.actor import Actor, Role
from controlplane.access.grants import narrowed, parse
from controlplane.access.memory import ActorMemory
from controlplane.access.people import grants_of
from controlplane.access.queries import credentials, people
from controlplane.access.sessions import Sessions
from controlplane.access.traffic import KeyUse
from controlplane.clock import Clock
from controlplane.database import Database
from controlplane.errors import UnauthenticatedError

_TOUCH_EVERY = timedelta(minutes=1)


class Authenticator:
    def __init__(self, database: Database, clock: Clock, sessions: Sessions, memory: ActorMemory) -> None:
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
            scope = parse(row.grants)
            if row.owner is None:
                actor = Actor("token", row.name, scope, person=row.person or "", credential=row.id, machine=True)
            else:
                owner = await people.by_id(connection, row.owner)
                if owner is None or owner.disabled_at is not None:
                    return None
                held = grants_of(await people.grants(connection, owner.id))
                actor = Actor("token", owner.email, narrowed(held, scope), person=owner.id, credential=row.id)
        if row.used_at is None or now - row.used_at >= _TOUCH_EVERY:
            async with self._database.writing() as connection:
                await credentials.touch_token(connection, row.id, now)
        return actor

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
        session = await self._sessions.find(cookie)
        if session is None:
            return None
        async with self._database.reading() as connection:
            person = await people.by_id(connection, session.person)
            if person is None or person.disabled_at is not None:
                return None
            held = grants_of(await people.grants(connection, person.id))
        return Actor("person", person.email, held, person=person.id, credential=session.id)


def _role(uses: tuple[str, ...]) -> Role:
    return Role.SDK if set(uses) == set(KeyUse) else Role(f"sdk_{uses[0]}")


def _from(actor: Actor, address: str) -> Actor:
    return msgspec.structs.replace(actor, address=address) if address else actor
