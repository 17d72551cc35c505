"""API tokens: a personal token does what its owner may, a service token what its maker may; both at most, and now."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from controlplane.access.actor import Action, Actor, allows, authorize, require_fresh
from controlplane.access.address_rules import checked_networks, checked_within
from controlplane.access.audit import Audit
from controlplane.access.bounds import Bounds
from controlplane.access.grants import EVERYTHING, parse, plain, require_covered, require_within
from controlplane.access.memory import ActorMemory
from controlplane.access.names import checked_label, invalid
from controlplane.access.queries import credentials
from controlplane.access.values import Event, TokenRow
from controlplane.errors import ForbiddenError, NotFoundError
from controlplane.kit import tokens
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database

USUAL_TOKEN = timedelta(days=90)


class NewToken(msgspec.Struct, frozen=True):
    """`token` is shown now and never again."""

    id: str
    name: str
    token: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"NewToken({self.id})"


class _Terms(msgspec.Struct, frozen=True):
    lasts: timedelta | None
    sensitive: bool
    networks: Iterable[str]


class ApiTokens:
    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        audit: Audit,
        memory: ActorMemory,
        bounds: Bounds,
        new_id: Callable[[], str],
    ) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit
        self._memory = memory
        self._bounds = bounds
        self._new_id = new_id

    async def list_tokens(self, actor: Actor, *, everybody: bool = False) -> list[TokenRow]:
        """The actor's own, personal ones and those of their machines; or all whose scope lies within what the actor
        manages.

        Raises:
            ForbiddenError: `everybody`, and the actor manages keys nowhere.
        """
        if not everybody:
            if not actor.human:
                return []
            async with self._database.reading() as connection:
                return await credentials.tokens(connection, actor.human)
        if not any(allows(actor.grants, Action.MANAGE_KEYS, environment) for environment in actor.grants):
            raise ForbiddenError(f"{actor.name} may not manage keys")
        async with self._database.reading() as connection:
            return [row for row in await credentials.tokens(connection, None) if _manages(actor, row)]

    async def create_personal(
        self,
        actor: Actor,
        name: str,
        *,
        scope: Mapping[str, Iterable[str]] | None = None,
        lasts: timedelta | None = None,
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
        """For a machine; `sensitive` and `networks` as for personal ones. Made by a machine, it ends with that machine's
        token, and works where that does.

        Raises:
            ForbiddenError: the actor does not manage keys there, or does not hold what it gives.
        """
        wanted = parse(grants)
        if not wanted:
            raise invalid("grants", "a service token needs a role somewhere")
        for environment in wanted:
            authorize(actor, Action.MANAGE_KEYS, environment)
        require_covered(actor.grants, wanted)
        return await self._make(actor, name, plain(wanted), None, _Terms(lasts, sensitive, networks))

    async def revoke(self, actor: Actor, token_id: str, reason: str = "") -> None:
        """Ends it, and what was made with it.

        Raises:
            NotFoundError: there is none that the actor may end.
            StepUpRequiredError: it needs a fresh proof.
        """
        now = self._clock.now()
        async with self._database.transaction() as connection:
            row = await credentials.token(connection, token_id)
            mine = row is not None and bool(actor.human) and actor.human in {row.owner, row.person}
            if row is None or not (mine or _manages(actor, row)):
                raise NotFoundError("there is no such token")
            require_fresh(actor)
            for ended in await credentials.revoke_token(connection, token_id, now):
                await self._audit.record(
                    connection, Event.TOKEN_REVOKED, actor, target=ended.name, reason=reason, detail={"token": ended.id}
                )
        self._memory.forget()

    async def _make(
        self, actor: Actor, name: str, grants: dict[str, list[str]], owner: str | None, terms: _Terms
    ) -> NewToken:
        longest, networks = self._bounds.token, checked_networks(terms.networks)
        lasts = min(USUAL_TOKEN, longest) if terms.lasts is None else terms.lasts
        if not timedelta(0) < lasts <= longest:
            raise invalid("lasts_s", f"a token lasts at most {longest.days} days")
        secret, now, clean = tokens.mint("bo_api_"), self._clock.now(), checked_label(name)
        ends = now + lasts
        async with self._database.transaction() as connection:
            parent = await credentials.token(connection, actor.credential) if actor.machine else None
            if parent is not None and parent.expires_at is not None:
                ends = min(ends, parent.expires_at)
            if parent is not None and parent.networks:
                networks = checked_within(networks or parent.networks, parent.networks)
            row = TokenRow(
                id=self._new_id(), hint=secret.hint, name=clean, owner=owner, made_by=actor.name,
                person=actor.person or None, parent=parent.id if parent else None, handed_by=None, grants=grants,
                created_at=now, expires_at=ends, used_at=None, revoked_at=None,
                sensitive=terms.sensitive, proven_at=None, networks=networks,
            )  # fmt: skip
            await credentials.insert_token(connection, row, secret.digest)
            detail: dict[str, str | int] = {"token": row.id, "sensitive": int(terms.sensitive)}
            await self._audit.record(connection, Event.TOKEN_CREATED, actor, target=clean, detail=detail)
        return NewToken(row.id, clean, secret.text, ends)


def _manages(actor: Actor, row: TokenRow) -> bool:
    """Whether the actor manages keys wherever the token reaches."""
    return bool(row.grants) and all(allows(actor.grants, Action.MANAGE_KEYS, environment) for environment in row.grants)
