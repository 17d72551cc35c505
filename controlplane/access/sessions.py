"""Browser sessions: who signed in from where, ended by themselves, by their owner or by an administrator."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from controlplane.access.actor import ANY_ENVIRONMENT, Action, Actor, allows, authorize
from controlplane.access.audit import Audit
from controlplane.access.memory import ActorMemory
from controlplane.access.queries import credentials
from controlplane.access.queries.credentials import SessionRow
from controlplane.access.values import Event, SessionInfo
from controlplane.errors import NotFoundError
from controlplane.kit import tokens
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, WriteConnection

FACTOR_LASTS = timedelta(minutes=10)
"""How long a password waits for its second factor."""

TOUCH_EVERY = timedelta(minutes=1)
_AGENT_CHARS = 200


class Origin(msgspec.Struct, frozen=True):
    """Where a request comes from. `device`: the known-device cookie's text, if any."""

    address: str = ""
    agent: str = ""
    device: str = ""


class Lifetimes(msgspec.Struct, frozen=True):
    """How long a session lasts without a request, and at most."""

    idle: timedelta = timedelta(hours=24)
    longest: timedelta = timedelta(days=7)


class SignedIn(msgspec.Struct, frozen=True):
    """`secret` and `device` go into cookies; nobody sees them again. `stage` `factor`: the second one is awaited."""

    person: str
    email: str
    session: str
    secret: str
    device: str
    expires_at: datetime
    lasts_s: int
    stage: Literal["full", "factor"] = "full"

    def __repr__(self) -> str:
        return f"SignedIn({self.email})"


class Sessions:
    def __init__(
        self,
        database: Database,
        clock: Clock,
        audit: Audit,
        memory: ActorMemory,
        new_id: Callable[[], str],
        *,
        lifetimes: Lifetimes,
    ) -> None:
        self._lifetimes = lifetimes
        self._database = database
        self._clock = clock
        self._audit = audit
        self._memory = memory
        self._new_id = new_id

    async def open(
        self,
        connection: WriteConnection,
        person: str,
        email: str,
        method: str,
        origin: Origin,
        *,
        stage: Literal["full", "factor"] = "full",
    ) -> SignedIn:
        """A new session and, on an unknown device, a new device; always a new secret."""
        now, secret, device = self._clock.now(), tokens.mint("bo_ses_"), origin.device
        idle, longest = self._lifetimes.idle, self._lifetimes.longest
        if stage == "factor":
            idle = longest = FACTOR_LASTS
        row = SessionRow(
            self._new_id(), person, method, origin.address, origin.agent[:_AGENT_CHARS], now, now,
            now + min(idle, longest), now, stage,
        )  # fmt: skip
        await credentials.insert_session(connection, row, secret.digest)
        lasts_s = int(longest.total_seconds())
        if stage == "factor":
            return SignedIn(person, email, row.id, secret.text, device, now + longest, lasts_s, stage)
        known = device and await credentials.device_belongs(connection, tokens.digest(device), person)
        if not known:
            device = tokens.mint("bo_ses_").text
            await credentials.insert_device(connection, tokens.digest(device), person, now)
        return SignedIn(person, email, row.id, secret.text, device, now + longest, lasts_s)

    async def find(self, secret: str) -> SessionRow | None:
        """The live session that this cookie opens; using it keeps it alive."""
        if not tokens.well_formed(secret, "bo_ses_"):
            return None
        now = self._clock.now()
        async with self._database.reading() as connection:
            row = await credentials.find_session(connection, tokens.digest(secret))
        if row is None or row.expires_at <= now:
            return None
        if now - row.seen_at >= TOUCH_EVERY and row.stage == "full":
            expires_at = min(now + self._lifetimes.idle, row.created_at + self._lifetimes.longest)
            async with self._database.writing() as connection:
                await credentials.touch_session(connection, row.id, now, expires_at)
        return row

    async def list_sessions(self, actor: Actor, *, everybody: bool = False) -> list[SessionInfo]:
        """The actor's own, or everybody's."""
        if everybody:
            authorize(actor, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)
        async with self._database.reading() as connection:
            rows = await credentials.sessions(connection, None if everybody else actor.human, self._clock.now())
        return [
            SessionInfo(
                row.id, row.person, row.method, row.address, row.agent, row.created_at, row.seen_at, row.expires_at,
                row.id == actor.credential,
            )
            for row in rows
        ]  # fmt: skip

    async def end(self, actor: Actor, session: str) -> None:
        """One's own; an administrator ends anybody's.

        Raises:
            NotFoundError: it has ended, never was, or is none of the actor's business.
        """
        async with self._database.transaction() as connection:
            found = await credentials.session(connection, session, self._clock.now())
            mine = found is not None and found.person == actor.human
            if found is None or not (mine or allows(actor.grants, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)):
                raise NotFoundError("there is no such session")
            await credentials.end_session(connection, session, self._clock.now())
            event = Event.SIGN_OUT if session == actor.credential else Event.SESSION_ENDED
            await self._audit.record(connection, event, actor, target=session)
        self._memory.forget()
