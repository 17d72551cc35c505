"""Everything that somebody might have to account for: who, from where, what, why. Append-only and hash-chained.

Commits are chained in the revision log of their environment already; the audit log says who made them from where, and
holds what is no commit: sign-ins, keys, roles, denials, approvals, exports.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

import msgspec

from controlplane.access.actor import ANY_ENVIRONMENT, Action, Actor, allows, authorize
from controlplane.access.queries import audit as queries
from controlplane.access.repeats import Bound, Counted, Refusal, Repeats
from controlplane.access.values import AuditLine, AuditOutcome, Entry, Event
from controlplane.errors import ForbiddenError, UnavailableError
from controlplane.kit.apart import apart, set_aside
from controlplane.kit.background import beat, words
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, WriteConnection

_PAGE = 500
_LATEST = 2**62
_COUNTED_EVERY_S = 5.0


WITHDRAWALS = (
    Event.SIGN_OUT,
    Event.SESSION_ENDED,
    Event.PASSWORD_SET,
    Event.PERSON_DISABLED,
    Event.ROLE_REVOKED,
    Event.TOKEN_REVOKED,
    Event.TOKEN_HANDED_OVER,
    Event.SSO_CONFIRMED,
    Event.SSO_REFUSED,
    Event.SECOND_FACTOR_RESET,
    Event.ADDRESSES_CHANGED,
)
"""After any of these somebody may do less than before."""


class ExportedLine(msgspec.Struct, frozen=True):
    """A line of an export. `entry` is an object of exactly the bytes that `chain` covers, after `previous_chain`."""

    sequence: int
    entry: msgspec.Raw
    previous_chain: str
    chain: str


class AuditProof(msgspec.Struct, frozen=True):
    """What verification found: `broken_at` is the first line that does not follow, None when all do."""

    entries: int
    head: str
    broken_at: int | None = None


Told = Callable[[WriteConnection, Entry], Awaitable[None]]
"""Hears of each entry in its transaction."""


class Audit:
    def __init__(self, database: Database, clock: Clock, told: Told | None = None) -> None:
        self._told = told
        self._database = database
        self._clock = clock
        self._repeats = Repeats()
        self._trouble = ""
        """Why the last numbers could not be written; empty when they could."""

    async def record(
        self,
        connection: WriteConnection,
        event: Event,
        actor: Actor,
        *,
        environment: str = "",
        target: str = "",
        reason: str = "",
        outcome: AuditOutcome = "ok",
        detail: dict[str, str | int] | None = None,
    ) -> None:
        """Writes within the transaction that made it true; call it last."""
        entry = Entry(
            at_ms=self._now_ms(),
            event=event,
            outcome=outcome,
            actor=actor.name,
            kind=actor.kind,
            credential=actor.credential,
            address=actor.address,
            environment="" if environment == ANY_ENVIRONMENT else environment,
            target=target,
            reason=reason,
            detail=detail or {},
        )
        if self._told is not None:
            await self._told(connection, entry)
        await queries.append(connection, msgspec.json.encode(entry).decode())

    async def note(
        self,
        event: Event,
        actor: Actor,
        *,
        environment: str = "",
        target: str = "",
        reason: str = "",
        outcome: AuditOutcome = "ok",
        detail: dict[str, str | int] | None = None,
    ) -> None:
        """Writes what no transaction of ours made true: a denial, a failed sign-in, an export."""
        async with self._database.transaction() as connection:
            await self.record(
                connection, event, actor,
                environment=environment, target=target, reason=reason, outcome=outcome, detail=detail,
            )  # fmt: skip

    async def refused(
        self,
        event: Event,
        actor: Actor,
        bounds: Iterable[Bound],
        *,
        environment: str = "",
        target: str = "",
        reason: str = "",
    ) -> None:
        """Writes a refusal, or counts it when the same was refused within the last minute: `run` writes the number."""
        reason, target = (text.replace("\0", "\ufffd") for text in (reason, target))  # Postgres stores no NUL
        made = Refusal(event, actor.name, actor.kind, actor.credential, environment, reason, target, actor.address)
        first = self._repeats.see(made, self._now_ms(), bounds)
        if first is not None:
            await self.note(
                event, actor, environment=environment, target=target, reason=first.reason, outcome="refused"
            )  # fmt: skip

    async def run(self) -> None:
        """Writes the numbers of what was counted, for ever."""
        beat("audit", _COUNTED_EVERY_S)
        while True:
            await asyncio.sleep(_COUNTED_EVERY_S)
            beat("audit")
            await self.write_counted()
            beat("audit", _COUNTED_EVERY_S, self._trouble)

    async def write_counted(self, *, every: bool = False) -> None:
        """The minutes that are over, or `every` one. What Postgres does not take now is told later."""
        counted, done = self._repeats.take(every=every), 0
        self._trouble = ""

        async def write(some: Sequence[Counted]) -> None:
            nonlocal done
            async with self._database.transaction() as connection:
                for each in some:
                    await queries.append(connection, msgspec.json.encode(_entry_of(each)).decode())
            done += len(some)

        def put_aside(one: Counted, error: Exception) -> None:
            nonlocal done
            done += 1
            set_aside("audit", one.last.event, error)
            self._trouble = f"a refusal could not be written: {words(error)}"

        try:
            await apart(counted, write, put_aside)
        except UnavailableError as error:
            self._repeats.put_back(counted[done:])
            self._trouble = words(error)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    async def list_events(
        self,
        actor: Actor,
        *,
        before: int | None = None,
        limit: int = 100,
        event: Event | None = None,
        who: str = "",
        environment: str = "",
    ) -> list[AuditLine]:
        """Newest first; what belongs to no environment is shown to those who may read every environment's."""
        environments = self._visible(actor, environment)
        async with self._database.reading() as connection:
            lines = await queries.page(
                connection, before=before or _LATEST, limit=min(limit, _PAGE), event=event or "", who=who,
                environments=environments,
            )  # fmt: skip
        return [_parsed(line) for line in lines]

    async def last_withdrawal(self) -> int:
        """The place of the newest entry after which somebody may do less; 0 when there is none."""
        async with self._database.reading() as connection:
            return await queries.newest(connection, WITHDRAWALS)

    async def export(self, actor: Actor, *, after: int = 0) -> AsyncIterator[bytes]:
        """JSON lines, oldest first, each with its place in the chain, so that a copy can be verified on its own.

        Raises:
            ForbiddenError: before the first line, unless the actor may read every environment's audit.
        """
        authorize(actor, Action.READ_AUDIT, ANY_ENVIRONMENT)
        await self.note(Event.EXPORTED, actor, target="audit", detail={"after": after})
        return self._exported(after)

    async def _exported(self, after: int) -> AsyncIterator[bytes]:
        async for line in self._lines(after):
            entry = msgspec.Raw(line.entry.encode())
            yield msgspec.json.encode(ExportedLine(line.sequence, entry, line.previous_chain, line.chain)) + b"\n"

    async def _lines(self, after: int) -> AsyncIterator[queries.Line]:
        while True:
            async with self._database.reading() as connection:
                lines = await queries.after(connection, after, _PAGE)
            for line in lines:
                yield line
            if len(lines) < _PAGE:
                return
            after = lines[-1].sequence

    async def verify(self, actor: Actor) -> AuditProof:
        """Reads the whole log and computes its chain again."""
        authorize(actor, Action.READ_AUDIT, ANY_ENVIRONMENT)
        head, expected = "", 1
        async for line in self._lines(0):
            if (line.sequence, line.previous_chain, line.chain) != (expected, head, chained(head, line.entry)):
                return AuditProof(expected - 1, head, line.sequence)
            head, expected = line.chain, expected + 1
        return AuditProof(expected - 1, head)

    def _visible(self, actor: Actor, environment: str) -> list[str] | None:
        if environment:
            authorize(actor, Action.READ_AUDIT, environment)
            return [environment]
        if allows(actor.grants, Action.READ_AUDIT, ANY_ENVIRONMENT):
            return None
        mine = [key for key in actor.grants if allows(actor.grants, Action.READ_AUDIT, key)]
        if not mine:
            raise ForbiddenError(f"{actor.name} may not read the audit log")
        return mine


def chained(previous: str, entry: str) -> str:
    """The chain value after `entry`, as the database's trigger computes it: 32 hex digits of SHA-256."""
    return hashlib.sha256((previous + entry).encode()).hexdigest()[:32]


def _entry_of(counted: Counted) -> Entry:
    """`detail.more`: how many came between `from_ms` and the entry's own time, besides the first."""
    last = counted.last
    return Entry(
        at_ms=counted.last_ms,
        event=Event(last.event),
        outcome="refused",
        actor=last.name,
        kind=last.kind,
        credential=last.credential,
        address=last.address,
        environment="" if last.environment == ANY_ENVIRONMENT else last.environment,
        target=last.target,
        reason=f"{last.reason} ({counted.more} more times)",
        detail={"more": counted.more, "from_ms": counted.first_ms},
    )


def _parsed(line: queries.Line) -> AuditLine:
    return AuditLine(line.sequence, msgspec.json.decode(line.entry, type=Entry), line.chain)
