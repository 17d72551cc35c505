"""Getting in: by password, passkey, or a one-time link. What an attacker learns is the same whatever was wrong."""

from collections.abc import Callable, Sequence

from controlplane.access.actor import ANY_ENVIRONMENT, Actor, Role
from controlplane.access.audit import Audit
from controlplane.access.memory import ActorMemory
from controlplane.access.passkeys import Json, Passkeys
from controlplane.access.password_rules import check_password
from controlplane.access.passwords import Passwords
from controlplane.access.people import checked_name, grants_of, normalized
from controlplane.access.proofs import Proof, Prover
from controlplane.access.queries import credentials, factors, hands, people
from controlplane.access.queries.people import LinkRow, PersonRow
from controlplane.access.repeats import Bound
from controlplane.access.second_factor_rule import Requirement, requires
from controlplane.access.sessions import Origin, Sessions, SignedIn
from controlplane.access.throttle import LoginThrottle
from controlplane.access.values import Event
from controlplane.errors import ConflictError, InvalidInputError, NotFoundError, UnauthenticatedError
from controlplane.kit import tokens
from controlplane.kit.addresses import network
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, WriteConnection

NOBODY = "nobody"
"""The actor of a sign-in that failed for an unknown account: what was typed there may be a password."""

MAX_REFUSED = 10
"""Refusals listed in a minute from one address, or for one account; further ones are counted together."""
MAX_UNKNOWN = 60
"""The same for all accounts that there are not, from everywhere: anyone can make them up."""


class SignIn:
    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        audit: Audit,
        sessions: Sessions,
        memory: ActorMemory,
        passwords: Passwords,
        throttle: LoginThrottle,
        prover: Prover,
        passkeys: Passkeys,
        requirement: Requirement,
        min_length: int,
        new_id: Callable[[], str],
    ) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit
        self._sessions = sessions
        self._memory = memory
        self._passwords = passwords
        self._throttle = throttle
        self._prover = prover
        self._passkeys = passkeys
        self._requirement = requirement
        self._min_length = min_length
        self._new_id = new_id

    async def with_password(self, email: str, password: str, origin: Origin) -> SignedIn:
        """A new session.

        Raises:
            UnauthenticatedError: wrong, unknown, disabled or without a password: always the same words.
            RateLimitedError: too many failures for this account from here.
        """
        account = email.strip().lower()
        person, device = await self._lookup(account, origin)
        self._throttle.begin(account, origin.address, device)
        stored = person.password if person and person.disabled_at is None else None
        if not await self._passwords.matches(stored, password):
            await self._refused(person, origin)
            raise UnauthenticatedError("the address or the password is wrong")
        assert person is not None
        assert stored is not None
        self._throttle.succeeded(account, origin.address, device)
        async with self._database.transaction() as connection:
            if self._passwords.outdated(stored):
                await people.set_password(connection, person.id, await self._passwords.hash(password))
            return await self.open(connection, person, "password", origin)

    async def with_second_factor(self, actor: Actor, proof: Proof, origin: Origin) -> SignedIn:
        """The session of somebody whose password was right, once the second factor is, too.

        Raises:
            UnauthenticatedError: no password waits for a second factor here.
            InvalidInputError: the proof does not hold.
            RateLimitedError: too many wrong ones.
        """
        if actor.stage != "factor":
            raise UnauthenticatedError("sign in with your password first")
        kind = await self._prover.check(actor, proof, "prove")
        async with self._database.transaction() as connection:
            person = await people.by_id(connection, actor.person)
            waiting = await credentials.session(connection, actor.credential, self._clock.now())
            over = waiting is None or not await credentials.end_session(connection, waiting.id, self._clock.now())
            if person is None or waiting is None or over or person.disabled_at is not None:
                raise UnauthenticatedError("that took too long; sign in again")
            entered = await self._enter(connection, person, waiting.method, origin, f"{waiting.method}, {kind}")
        self._memory.forget()
        return entered

    async def with_passkey(self, ceremony: str, response: Json, origin: Origin) -> SignedIn:
        """Signs in whoever's passkey it is: it has verified them, so nothing else is asked.

        Raises:
            UnauthenticatedError: not a passkey of anybody who may sign in.
        """
        row, counts = await self._passkeys.verified(ceremony, "sign_in", "", response)
        async with self._database.reading() as connection:
            person = await people.by_id(connection, row.person)
        if person is None or person.disabled_at is not None:
            await self._refused(person, origin)
            raise UnauthenticatedError("that passkey was not accepted; try again")
        if not counts:
            actor = Actor("person", person.email, {}, origin.address, person.id, stage="factor")
            await self._prover.copied(actor, row.name)
            raise UnauthenticatedError("that passkey's counter went back: it may have been copied; use another factor")
        async with self._database.transaction() as connection:
            return await self._enter(connection, person, "passkey", origin, "passkey")

    async def peek(self, link: str) -> str | None:
        """What a one-time link is for (`setup`, `invite`, `reset`), or None when it no longer works."""
        row = await self._link(link)
        return row.purpose if row else None

    async def with_link(self, link: str, password: str, origin: Origin, *, email: str = "", name: str = "") -> SignedIn:
        """Sets the password and signs in; `email` and `name` matter for `setup`, which makes the first administrator.

        Raises:
            NotFoundError: the link was used, has expired or never was.
            InvalidInputError: the password is too weak.
        """
        row = await self._link(link)
        if row is None:
            raise NotFoundError("this link does not work any more; ask for another one")
        if row.purpose == "setup":
            return await self._set_up(link, password, origin, normalized(email), name)
        assert row.person is not None
        async with self._database.reading() as connection:
            person = await people.by_id(connection, row.person)
        if person is None or person.disabled_at is not None:
            raise NotFoundError("this link does not work any more; ask for another one")
        self._check(password, person.email, name or person.name)
        hashed = await self._passwords.hash(password)
        async with self._database.transaction() as connection:
            await self._use(connection, link)
            await people.end_links(connection, person.id)
            if name:
                await people.set_name(connection, person.id, checked_name(name, person.email))
            await people.set_password(connection, person.id, hashed)
            now, actor = self._clock.now(), Actor("person", person.email, {}, origin.address, person.id)
            if not (await factors.held(connection, person.id)).factor:  # one that stays may be another hand's
                await hands.link_used(connection, person.id)
            await hands.record(connection, person.id, "password", actor, at=now)
            await credentials.end_sessions_of(connection, person.id, now)
            await credentials.forget_devices(connection, person.id)
            if person.password is None and person.subject is None:
                await self._ask_at_once(connection, person.id)
            if row.purpose == "reset":  # somebody else may have known the password
                ended = await credentials.revoke_made_by(connection, person.id, now)
                await self._tokens_ended(connection, actor, ended, "password reset by a link")
                await self._audit.record(connection, Event.PASSWORD_SET, actor, target=person.email, reason="by a link")
            signed_in = await self.open(connection, person, "link", origin)
        self._memory.forget()
        return signed_in

    async def change_password(self, actor: Actor, old: str, new: str, *, keep_tokens: bool = False) -> None:
        """Ends every other session of the person and, unless they say otherwise, their personal API tokens.

        Raises:
            UnauthenticatedError: the old one is wrong.
            InvalidInputError: the new one is too weak.
        """
        async with self._database.reading() as connection:
            person = await people.by_id(connection, actor.person)
        if person is None or actor.kind != "person":
            raise UnauthenticatedError("sign in with your password first")
        self._throttle.begin(person.email, actor.address, actor.credential)
        if not await self._passwords.matches(person.password, old):
            raise InvalidInputError("the present password is wrong")
        self._check(new, person.email, person.name, "/new")
        hashed = await self._passwords.hash(new)
        async with self._database.transaction() as connection:
            await people.set_password(connection, person.id, hashed)
            await people.end_links(connection, person.id)
            now = self._clock.now()
            await credentials.end_sessions_of(connection, person.id, now, but=actor.credential)
            if not keep_tokens:
                ended = await credentials.revoke_personal(connection, person.id, now)
                await self._tokens_ended(connection, actor, ended, "password changed")
            await self._audit.record(connection, Event.PASSWORD_SET, actor, target=person.email)
        self._memory.forget()

    async def has_password(self, actor: Actor) -> bool:
        """Whether the actor can sign in with one."""
        async with self._database.reading() as connection:
            return (await factors.held(connection, actor.person)).password

    async def open(self, connection: WriteConnection, person: PersonRow, method: str, origin: Origin) -> SignedIn:
        """The session of somebody who has proven who they are; or, when they have one, what waits for a second factor.

        Who comes by single sign-on has shown to their provider what it asks for.
        """
        if method in {"password", "link"} and (await factors.held(connection, person.id)).factor:
            return await self._sessions.open(connection, person.id, person.email, method, origin, stage="factor")
        return await self._enter(connection, person, method, origin, method)

    async def _enter(
        self, connection: WriteConnection, person: PersonRow, method: str, origin: Origin, how: str
    ) -> SignedIn:
        """A whole session, and its line in the audit log."""
        signed_in = await self._sessions.open(connection, person.id, person.email, method, origin)
        actor = Actor("person", person.email, {}, origin.address, person.id, signed_in.session)
        await self._audit.record(connection, Event.SIGN_IN, actor, target=person.email, reason=how)
        return signed_in

    async def _tokens_ended(
        self, connection: WriteConnection, actor: Actor, ended: Sequence[credentials.Ended], why: str
    ) -> None:
        for each in ended:
            await self._audit.record(
                connection, Event.TOKEN_REVOKED, actor, target=each.name, reason=why, detail={"token": each.id}
            )

    async def _ask_at_once(self, connection: WriteConnection, person: str) -> None:
        """Grace is for those who were here before the rule."""
        if requires(self._requirement, grants_of(await people.grants(connection, person))):
            await people.set_second_factor_due(connection, person, self._clock.now())

    def _check(self, password: str, email: str, name: str, pointer: str = "/password") -> None:
        check_password(password, about=(email, name), min_length=self._min_length, pointer=pointer)

    async def _set_up(self, link: str, password: str, origin: Origin, email: str, name: str) -> SignedIn:
        self._check(password, email, name)
        now, hashed = self._clock.now(), await self._passwords.hash(password)
        person = PersonRow(self._new_id(), email, checked_name(name, email), hashed, None, None, now, None)
        async with self._database.transaction() as connection:
            await self._use(connection, link)
            if await people.anybody(connection):
                raise ConflictError("the first account exists already; ask an administrator for an invitation")
            await people.insert(connection, person)
            await people.grant(connection, person.id, ANY_ENVIRONMENT, Role.ADMIN, source="local", by="setup", at=now)
            await self._ask_at_once(connection, person.id)
            return await self.open(connection, person, "link", origin)

    async def _use(self, connection: WriteConnection, link: str) -> None:
        if not await people.use_link(connection, tokens.digest(link), self._clock.now()):
            raise NotFoundError("this link does not work any more; ask for another one")

    async def _link(self, link: str) -> LinkRow | None:
        if not tokens.well_formed(link, "bo_one_"):
            return None
        async with self._database.reading() as connection:
            row = await people.find_link(connection, tokens.digest(link))
        usable = row is not None and row.used_at is None and row.expires_at > self._clock.now()
        return row if usable else None

    async def _lookup(self, account: str, origin: Origin) -> tuple[PersonRow | None, str]:
        """(the person, the digest of their device when this is one of theirs)."""
        async with self._database.reading() as connection:
            person = await people.by_email(connection, account)
            device = tokens.digest(origin.device) if tokens.well_formed(origin.device, "bo_ses_") else ""
            if not (person and device and await credentials.device_belongs(connection, device, person.id)):
                device = ""
        return person, device

    async def _refused(self, person: PersonRow | None, origin: Origin) -> None:
        actor = Actor("person", person.email if person else NOBODY, {}, origin.address, person.id if person else "")
        why = "disabled" if person and person.disabled_at else "wrong password" if person else "unknown account"
        who = Bound(f"account {person.id}", MAX_REFUSED) if person else Bound("unknown accounts", MAX_UNKNOWN)
        await self._audit.refused(Event.SIGN_IN, actor, (Bound(network(origin.address), MAX_REFUSED), who), reason=why)
