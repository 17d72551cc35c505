"""From an identity to a session: the person it belongs to, and the roles its groups give, now and later."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import msgspec
import structlog

from controlplane.access.actor import Actor, system_actor
from controlplane.access.audit import Audit
from controlplane.access.memory import ActorMemory
from controlplane.access.oidc import Again, Identity, Oidc
from controlplane.access.people import checked_name, give, grants_of, normalized
from controlplane.access.queries import credentials, hands, people
from controlplane.access.queries.people import PersonRow, SsoRow
from controlplane.access.repeats import Bound
from controlplane.access.sessions import Origin, SignedIn
from controlplane.access.signin import MAX_REFUSED, MAX_UNKNOWN, SignIn
from controlplane.access.values import Event
from controlplane.errors import UnauthenticatedError, UnavailableError
from controlplane.kit.addresses import network
from controlplane.kit.apart import Turn
from controlplane.kit.background import beat, words
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, ReadConnection, WriteConnection
from controlplane.kit.resealing import Sealed, Vault
from controlplane.kit.secret_box import SecretBox, SecretKeyError

log = structlog.get_logger(__name__)

BY = system_actor("single sign-on")
_PAUSE_S = 30.0
_CHECK_S = 30.0
"""How long the provider may take for one person: a request or two."""


class SingleSignOn:
    """Groups decide at every sign-in, and every `every` for who is away from it; roles that were given here stay
    beside them. Many replicas take turns: each person is asked about by one of them."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        audit: Audit,
        sign_in: SignIn,
        memory: ActorMemory,
        oidc: Oidc,
        box: SecretBox,
        every: timedelta,
        new_id: Callable[[], str],
    ) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit
        self._sign_in = sign_in
        self._memory = memory
        self._box = box
        self.every = every
        self._new_id = new_id
        self.oidc = oidc

    async def finish(
        self, redirect_uri: str, sealed: str, answer: Mapping[str, str], origin: Origin, present: Actor | None = None
    ) -> tuple[SignedIn | None, str]:
        """(the session, the path they wanted). No new session for `present` who proves anew that it is them.

        Raises:
            UnauthenticatedError: the provider's answer does not hold, no role comes of it, or the person is disabled.
        """
        identity, then, asked, proven = await self.oidc.finish(redirect_uri, sealed, answer)
        if asked:
            await self._prove(identity, present, proven=proven)
            return None, then
        granted = self._granted(identity)
        signed_in, why = None, ""
        async with self._database.transaction() as connection:
            person = await self._person(connection, identity, may_join=bool(granted))
            if person is None or person.disabled_at is not None:
                why = "disabled" if person else "no account has that identity, and its groups give no role here"
            else:
                await self._confirmed(connection, person.id, identity)
                if grants_of(await people.grants(connection, person.id)):
                    signed_in = await self._sign_in.open(connection, person, "sso", origin)
                else:
                    why = "no role here: ask an administrator"
        if signed_in is not None:
            self._memory.forget()
            return signed_in, then
        actor = Actor("person", identity.email or identity.subject, {}, origin.address, person.id if person else "")
        bounds = (Bound(network(origin.address), MAX_REFUSED), Bound("unknown identities", MAX_UNKNOWN))
        await self._audit.refused(Event.SIGN_IN, actor, bounds, reason=f"sso: {why}")
        raise UnauthenticatedError("your identity provider knows you, but you have no role here; ask an administrator")

    async def _prove(self, identity: Identity, present: Actor | None, *, proven: bool) -> None:
        """Raises UnauthenticatedError unless the provider has just asked the very person whose session this is."""
        async with self._database.transaction() as connection:
            found = await people.by_subject(connection, identity.issuer, identity.subject)
            if not proven or found is None or present is None or present.human != found.id or present.kind != "person":
                raise UnauthenticatedError("your identity provider did not confirm that it is you")
            await credentials.prove_session(connection, present.credential, self._clock.now())
            await self._audit.record(connection, Event.PROVEN, present, target=present.name, reason="sso")
        self._memory.forget()

    async def run(self) -> None:
        """Asks the provider about people in turn, until cancelled."""
        while True:
            turn = Turn("single_sign_on")
            try:
                with turn.item("person"):  # the next look takes another
                    beat("single_sign_on", _CHECK_S)
                    while await self.check_one():
                        beat("single_sign_on", _CHECK_S)
                trouble = turn.trouble
            except UnavailableError as error:
                log.warning("single sign-on could not be checked", why=error.message)
                trouble = words(error)
            beat("single_sign_on", _PAUSE_S, trouble)
            await asyncio.sleep(_PAUSE_S)

    async def check_one(self) -> bool:
        """Whether there was anybody to ask about. Raises UnavailableError: their roles stay until they lapse."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            taken = await people.take_sso(connection, now - self.every, now)
            person = await people.by_id(connection, taken.person) if taken else None
        if taken is None:
            return False
        again = self._opened(taken)
        if again is None or person is None or person.subject is None:
            return True  # sealed under another secret key: they will sign in again
        try:
            identity = await self.oidc.confirm(again, person.subject)
        except UnauthenticatedError:
            await self._disowned(person)
            return True
        async with self._database.transaction() as connection:
            if await self._confirmed(connection, person.id, identity):
                await self._audit.record(
                    connection, Event.SSO_CONFIRMED, BY, target=person.email, reason="roles changed"
                )
        self._memory.forget()
        return True

    async def _disowned(self, person: PersonRow) -> None:
        """The provider no longer stands by somebody: what it gave ends now."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            await people.keep_sso(connection, person.id, None, None, now)
            await credentials.end_sessions_of(connection, person.id, now, method="sso")
            await self._audit.record(connection, Event.SSO_REFUSED, BY, target=person.email)
        self._memory.forget()

    async def _confirmed(self, connection: WriteConnection, person: str, identity: Identity) -> bool:
        """Whether the roles that groups give have changed."""
        now = self._clock.now()
        sealed = None
        if identity.again.refresh or identity.again.access:
            sealed = self._box.seal(msgspec.json.encode(identity.again), person)
        await people.keep_sso(connection, person, sealed, now, now)
        rows = await people.grants(connection, person)
        had = {(row.environment, row.role) for row in rows if row.source == "sso"}
        has = set(self._granted(identity))
        for environment, role in sorted(had - has):
            await people.drop_sso_grant(connection, person, environment, role)
            await hands.role_taken(connection, person, environment, role)
        for environment, role in sorted(has - had):
            await give(connection, person, environment, role, source="sso", by=BY, at=now)
        return had != has

    def _granted(self, identity: Identity) -> list[tuple[str, str]]:
        """(environment, role) pairs."""
        return [
            (environment, role)
            for group in sorted(identity.groups)
            for environment, roles in self.oidc.settings.roles.get(group, {}).items()
            for role in roles
        ]

    def _opened(self, row: SsoRow) -> Again | None:
        try:
            return msgspec.json.decode(self._box.open(row.sealed or b"", row.person), type=Again)
        except (SecretKeyError, msgspec.MsgspecError):
            return None

    async def _person(self, connection: WriteConnection, identity: Identity, *, may_join: bool) -> PersonRow | None:
        """By subject; else by an address that the provider has verified; else somebody new, if a group lets them in."""
        found = await people.by_subject(connection, identity.issuer, identity.subject)
        if found is not None or not identity.email:
            return found
        email, now = normalized(identity.email), self._clock.now()
        known = await people.by_email(connection, email)
        if known is not None:
            if known.subject is not None:
                return None  # the address belongs to another identity now: a person decides, not the provider
            await people.link_subject(connection, known.id, identity.issuer, identity.subject)
            await people.end_links(connection, known.id)  # whoever made one is not who the provider means
            await hands.record(connection, known.id, "identity", BY, at=now)
            return known
        if not may_join:
            return None
        name = checked_name(identity.name[:255], email)
        row = PersonRow(self._new_id(), email, name, None, identity.issuer, identity.subject, now, None)
        await people.insert(connection, row)
        await hands.record(connection, row.id, "identity", BY, at=now)
        return row


def sso_box(secret_keys: Sequence[str]) -> SecretBox:
    """Seals what the identity provider can be asked with again; each under its person's id."""
    return SecretBox(secret_keys, "oidc-tokens")


def sso_vault(secret_keys: Sequence[str]) -> Vault:
    """Those, for when the secret key changes. Whose cannot be opened signs in again."""

    async def read(connection: ReadConnection) -> list[Sealed]:
        return [Sealed((row.person,), row.person, row.sealed or b"") for row in await people.all_sso(connection)]

    async def replace(connection: WriteConnection, old: Sealed, fresh: bytes) -> None:
        await people.reseal_sso(connection, old.key[0], old.sealed, fresh)

    return Vault("sign-ins at the identity provider", sso_box(secret_keys), read, replace, needed=False)
