"""People and their roles: invite, grant, revoke, disable. Every change is audited in its own transaction."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from controlplane.access.actor import ANY_ENVIRONMENT, PERMISSIONS, Action, Actor, Grants, Role, allows, authorize
from controlplane.access.audit import Audit
from controlplane.access.bounds import Bounds
from controlplane.access.grants import collect, covered, parse, plain, require_covered
from controlplane.access.memory import ActorMemory
from controlplane.access.queries import credentials, hands, people
from controlplane.access.queries.people import GrantRow, PersonRow
from controlplane.access.telling import ApproverAlerts
from controlplane.access.values import Event, Grant, Person
from controlplane.errors import ConflictError, Fault, ForbiddenError, InvalidInputError, NotFoundError
from controlplane.kit import tokens
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, ReadConnection, WriteConnection

INVITE_LASTS = timedelta(hours=72)
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")


class Invitation(msgspec.Struct, frozen=True):
    """`secret` goes into a link that works once; it is shown now and never again."""

    person: str
    email: str
    secret: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Invitation({self.email})"


class People:
    """Whatever changes what somebody may do forgets at once who is remembered here."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        audit: Audit,
        memory: ActorMemory,
        alerts: ApproverAlerts,
        bounds: Bounds,
        new_id: Callable[[], str],
    ) -> None:
        self._alerts = alerts
        self._bounds = bounds
        self._database = database
        self._clock = clock
        self._audit = audit
        self._memory = memory
        self._new_id = new_id

    async def list_people(self, actor: Actor) -> list[Person]:
        """Everybody, with the roles that the actor may see."""
        self._authorize_somewhere(actor)
        async with self._database.snapshot() as connection:
            rows, grants = await people.everybody(connection), await people.grants(connection)
        return [_person(row, _visible(actor, grants)) for row in rows]

    async def get(self, actor: Actor, person: str) -> Person:
        """Oneself, or anybody for who manages people. Raises NotFoundError."""
        if actor.human != person:
            self._authorize_somewhere(actor)
        async with self._database.snapshot() as connection:
            row = await people.by_id(connection, person)
            if row is None:
                raise NotFoundError("there is no such person")
            grants = await people.grants(connection, person)
            return _person(row, grants if actor.human == person else _visible(actor, grants))

    async def invite(self, actor: Actor, email: str, name: str, grants: Mapping[str, Iterable[str]]) -> Invitation:
        """Adds somebody who can sign in once they have followed the link.

        Raises:
            ForbiddenError: the actor manages no people there, or does not hold a role it would give.
            ConflictError: somebody has that address.
        """
        wanted = parse(grants)
        if not wanted:
            authorize(actor, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)
        for environment in wanted:
            authorize(actor, Action.MANAGE_PEOPLE, environment)
        require_covered(actor.grants, wanted)
        address, now = normalized(email), self._clock.now()
        row = PersonRow(self._new_id(), address, checked_name(name, address), None, None, None, now, None)
        async with self._database.transaction() as connection:
            if not await people.insert(connection, row):
                raise ConflictError(f"{address} is here already")
            await hands.record(connection, row.id, "account", actor, at=now)
            for environment, roles in wanted.items():
                for role in roles:
                    await give(connection, row.id, environment, role, source="local", by=actor, at=now)
            link = await _link(connection, "invite", row.id, actor.name, now, INVITE_LASTS)
            alerts = await self._alerts.changed(connection, actor, address, "invited", wanted)
            await self._audit.record(
                connection, Event.PERSON_INVITED, actor, target=address, detail=_words(wanted)
            )  # fmt: skip
        await self._alerts.tell(alerts)
        return Invitation(row.id, address, link.text, now + INVITE_LASTS)

    async def reset(self, actor: Actor, person: str) -> Invitation:
        """A link with which somebody who lost their password, or their invitation, gets in again; older links end."""
        authorize(actor, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)
        now = self._clock.now()
        async with self._database.transaction() as connection:
            row = await self._found(connection, person)
            if row.disabled_at is not None:
                raise ConflictError(f"{row.email} is disabled; enable them first")
            link = await _link(connection, "reset", person, actor.name, now, INVITE_LASTS)
            await hands.record(connection, person, "link", actor, at=now)
            alerts = await self._alerts.changed(
                connection, actor, row.email, "new link", await self._held(connection, person)
            )
            await self._audit.record(connection, Event.PERSON_INVITED, actor, target=row.email, reason="reset")
        await self._alerts.tell(alerts)
        return Invitation(person, row.email, link.text, now + INVITE_LASTS)

    async def setup_secret(self, actor: Actor) -> str | None:
        return await setup_secret(self._database, self._clock, actor)

    async def grant(self, actor: Actor, person: str, environment: str, role: str) -> Person:
        """Raises ForbiddenError unless the actor manages people there and holds what it gives."""
        authorize(actor, Action.MANAGE_PEOPLE, environment)
        wanted = parse({environment: [role]})
        require_covered(actor.grants, wanted)
        alerts: list[dict[str, str]] = []
        async with self._database.transaction() as connection:
            row = await self._found(connection, person)
            if await give(connection, person, environment, role, source="local", by=actor, at=self._clock.now()):
                alerts = await self._alerts.changed(connection, actor, row.email, f"made {role}", wanted)
                await self._audit.record(
                    connection, Event.ROLE_GRANTED, actor, environment=environment, target=row.email,
                    detail={"role": role, "where": environment},
                )  # fmt: skip
        self._memory.forget()
        await self._alerts.tell(alerts)
        return await self._read(actor, person)

    async def revoke(self, actor: Actor, person: str, environment: str, role: str) -> Person:
        """Raises ConflictError for a role that the identity provider gives, and for the last administrator's."""
        authorize(actor, Action.MANAGE_PEOPLE, environment)
        async with self._database.transaction() as connection:
            await people.lock_grants(connection)
            before = await people.administrators(connection)
            row = await self._found(connection, person)
            if not await people.revoke(connection, person, environment, role):
                held = any(
                    (g.environment, g.role) == (environment, role) for g in await people.grants(connection, person)
                )
                raise ConflictError(
                    "the identity provider gives that role" if held else f"{row.email} has no such role"
                )
            await self._keep_an_administrator(connection, before)
            await hands.role_taken(connection, person, environment, role)
            await self._audit.record(
                connection, Event.ROLE_REVOKED, actor, environment=environment, target=row.email,
                detail={"role": role, "where": environment},
            )  # fmt: skip
        self._memory.forget()
        return await self._read(actor, person)

    async def disable(self, actor: Actor, person: str, *, heir: str = "") -> Person:
        """Ends everything they could act with at once: sessions, tokens, devices. Keys of services stay.

        `heir`: the id of who takes over the tokens of their machines; without, these end as well.

        Raises:
            NotFoundError: there is no such heir.
            ForbiddenError: the heir does not hold what one of the tokens may.
        """
        authorize(actor, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)
        now = self._clock.now()
        async with self._database.transaction() as connection:
            await people.lock_grants(connection)
            before = await people.administrators(connection)
            row = await self._found(connection, person)
            await people.set_disabled(connection, person, now)
            await self._keep_an_administrator(connection, before)
            if heir:
                await self._hand_over(connection, actor, row, heir)
            await people.end_links(connection, person)
            await credentials.end_sessions_of(connection, person, now)
            for ended in await credentials.revoke_all_of(connection, person, now):
                await self._audit.record(
                    connection, Event.TOKEN_REVOKED, actor, target=ended.name, reason=f"{row.email} was disabled",
                    detail={"token": ended.id},
                )  # fmt: skip
            await credentials.forget_devices(connection, person)
            await self._audit.record(connection, Event.PERSON_DISABLED, actor, target=row.email)
        self._memory.forget()
        return await self._read(actor, person)

    async def enable(self, actor: Actor, person: str) -> Person:
        authorize(actor, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)
        alerts: list[dict[str, str]] = []
        async with self._database.transaction() as connection:
            row = await self._found(connection, person)
            if row.disabled_at is not None:
                await people.set_disabled(connection, person, None)
                await hands.record(connection, person, "enabled", actor, at=self._clock.now())
                held = await self._held(connection, person)
                alerts = await self._alerts.changed(connection, actor, row.email, "let in again", held)
                await self._audit.record(connection, Event.PERSON_ENABLED, actor, target=row.email)
        self._memory.forget()
        await self._alerts.tell(alerts)
        return await self._read(actor, person)

    async def _hand_over(self, connection: WriteConnection, actor: Actor, leaver: PersonRow, heir: str) -> None:
        taker = await people.by_id(connection, heir)
        if taker is None or taker.disabled_at is not None or taker.id == leaver.id:
            raise NotFoundError("no active person with that address or id can take over the tokens")
        held = await self._held(connection, heir)
        for token in await credentials.service_tokens_of(connection, leaver.id, self._clock.now()):
            if not covered(held, parse(token.grants)):
                raise ForbiddenError(f"{taker.email} cannot take over {token.name}: they do not hold what it may do")
            await credentials.hand_over(connection, token.id, heir, actor.name)
            await self._audit.record(
                connection, Event.TOKEN_HANDED_OVER, actor, target=token.name, reason=f"{leaver.email} was disabled",
                detail={"token": token.id, "to": taker.email},
            )  # fmt: skip

    async def _held(self, connection: ReadConnection, person: str) -> Grants:
        return await people.held(connection, person, self._bounds.tokens_since(self._clock.now()))

    async def _read(self, actor: Actor, person: str) -> Person:
        async with self._database.snapshot() as connection:
            row, grants = await self._found(connection, person), await people.grants(connection, person)
        return _person(row, _visible(actor, grants))

    @staticmethod
    async def _found(connection: ReadConnection, person: str) -> PersonRow:
        row = await people.by_id(connection, person)
        if row is None:
            raise NotFoundError("there is no such person")
        return row

    @staticmethod
    async def _keep_an_administrator(connection: WriteConnection, before: int) -> None:
        if before and not await people.administrators(connection):
            raise ConflictError("that would leave no administrator of everything; make another person admin first")

    @staticmethod
    def _authorize_somewhere(actor: Actor) -> None:
        if not any(allows(actor.grants, Action.MANAGE_PEOPLE, environment) for environment in actor.grants):
            raise ForbiddenError(f"{actor.name} may not manage people")


async def setup_secret(database: Database, clock: Clock, by: Actor) -> str | None:
    """The secret of the link by which the first person gets in; None once there is anybody."""
    async with database.transaction() as connection:
        if await people.anybody(connection):
            return None
        return (await _link(connection, "setup", None, by.name, clock.now(), timedelta(hours=24))).text


async def _link(  # noqa: PLR0917 - a row's columns
    connection: WriteConnection, purpose: str, person: str | None, by: str, now: datetime, lasts: timedelta
) -> tokens.Secret:
    secret = tokens.mint("bo_one_")
    await people.insert_link(
        connection, digest=secret.digest, purpose=purpose, person=person, by=by, at=now, expires_at=now + lasts
    )
    return secret


async def give(
    connection: WriteConnection, person: str, environment: str, role: str, *, source: str, by: Actor, at: datetime
) -> bool:
    """Grants a role and keeps whose hand gave it when it may approve. False when they had it."""
    if not await people.grant(connection, person, environment, role, source=source, by=by.name, at=at):
        return False
    if Action.APPROVE in PERMISSIONS[Role(role)]:
        await hands.record(connection, person, "role", by, at=at, environment=environment, role=role)
    return True


def welcome_url(url: str, secret: str) -> str:
    """Where a one-time link leads. The secret is in the fragment: no server log, proxy or Referer ever sees it."""
    return f"{url}/welcome#{secret}"


def normalized(email: str) -> str:
    """Raises InvalidInputError when it is no address."""
    address = email.strip().lower()
    if not _EMAIL.fullmatch(address):
        fault = Fault("invalid_email", "that is not an e-mail address", "/email")
        raise InvalidInputError(fault.message, (fault,))
    return address


def checked_name(name: str, otherwise: str) -> str:
    clean = " ".join(name.split()) or otherwise
    if len(clean) > 255 or not clean.isprintable():
        fault = Fault("invalid_name", "a name has at most 255 printable characters", "/name")
        raise InvalidInputError(fault.message, (fault,))
    return clean


def grants_of(rows: Iterable[GrantRow]) -> Grants:
    return collect((row.environment, row.role) for row in rows)


def _visible(actor: Actor, grants: Iterable[GrantRow]) -> list[GrantRow]:
    """What holds where the actor manages people; a role in every environment holds there, too."""
    return [
        grant
        for grant in grants
        if grant.environment == ANY_ENVIRONMENT or allows(actor.grants, Action.MANAGE_PEOPLE, grant.environment)
    ]


def _person(row: PersonRow, grants: Iterable[GrantRow]) -> Person:
    return Person(
        row.id, row.email, row.name,
        tuple(Grant(g.environment, Role(g.role), g.source) for g in grants if g.person == row.id),
        row.password is not None, row.subject is not None, row.created_at, row.disabled_at,
    )  # fmt: skip


def _words(grants: Grants) -> dict[str, str | int]:
    return {environment: ", ".join(roles) for environment, roles in plain(grants).items()}
