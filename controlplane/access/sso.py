"""From an identity to a session: the person it belongs to, and the roles its groups give."""

from collections.abc import Callable, Mapping

from controlplane.access.actor import Actor
from controlplane.access.audit import Audit, Event
from controlplane.access.grants import collect
from controlplane.access.memory import ActorMemory
from controlplane.access.oidc import Identity, Oidc
from controlplane.access.people import checked_name, grants_of, normalized
from controlplane.access.queries import credentials, people
from controlplane.access.queries.people import PersonRow
from controlplane.access.sessions import Origin, SignedIn
from controlplane.access.signin import SignIn
from controlplane.clock import Clock
from controlplane.database import Database, WriteConnection
from controlplane.errors import UnauthenticatedError


class SingleSignOn:
    """Groups decide anew at every sign-in; roles that were given here stay beside them."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        audit: Audit,
        memory: ActorMemory,
        sign_in: SignIn,
        oidc: Oidc,
        new_id: Callable[[], str],
    ) -> None:
        self._memory = memory
        self._database = database
        self._clock = clock
        self._audit = audit
        self._sign_in = sign_in
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
        granted = [
            (environment, role)
            for group in sorted(identity.groups)
            for environment, roles in self.oidc.settings.roles.get(group, {}).items()
            for role in roles
        ]
        why = ""
        async with self._database.transaction() as connection:
            person = await self._person(connection, identity, may_join=bool(granted))
            if person is None or person.disabled_at is not None:
                why = "disabled" if person else "nobody is known by that identity, and its groups give no role here"
            else:
                await self._grant(connection, person, granted)
                if grants_of(await people.grants(connection, person.id)):
                    return await self._sign_in.open(connection, person, "sso", origin), then
                why = "no role here: ask an administrator"
        actor = Actor("person", identity.email or identity.subject, {}, origin.address, person.id if person else "")
        await self._audit.note(Event.SIGN_IN, actor, reason=f"sso: {why}", outcome="refused")
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

    async def _person(self, connection: WriteConnection, identity: Identity, *, may_join: bool) -> PersonRow | None:
        """By subject; else by an address that the provider has verified; else somebody new, if a group lets them in."""
        found = await people.by_subject(connection, identity.issuer, identity.subject)
        if found is not None or not identity.email:
            return found
        email = normalized(identity.email)
        known = await people.by_email(connection, email)
        if known is not None:
            if known.subject is not None:
                return None  # the address belongs to another identity now: a person decides, not the provider
            await people.link_subject(connection, known.id, identity.issuer, identity.subject)
            return known
        if not may_join:
            return None
        name = checked_name(identity.name[:255], email)
        row = PersonRow(
            self._new_id(), email, name, None, identity.issuer, identity.subject, self._clock.now(), None
        )  # fmt: skip
        await people.insert(connection, row)
        return row

    async def _grant(self, connection: WriteConnection, person: PersonRow, granted: list[tuple[str, str]]) -> None:
        await people.drop_sso_grants(connection, person.id)
        now = self._clock.now()
        for environment, roles in collect(granted).items():
            for role in roles:
                await people.grant(connection, person.id, environment, role, source="sso", by="sso", at=now)
