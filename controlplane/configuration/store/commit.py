"""The one way configuration changes: load what the change can break, decide, write; two round trips (ADR 0021)."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import msgspec
from sqlalchemy import select

from brownout.model.check import references
from brownout.model.resources import ResourceRef
from controlplane.configuration.store.basis import Bases, Expected, compare, is_expected
from controlplane.configuration.store.covering import drift_of
from controlplane.configuration.store.draft import MAX_FAULTS, Draft, keep_owned, refuse, settle
from controlplane.configuration.store.effective import effective
from controlplane.configuration.store.errors import IdempotencyKeyReusedError
from controlplane.configuration.store.listing import listed
from controlplane.configuration.store.record import Entry, Record, record
from controlplane.configuration.store.signing import SigningKeys
from controlplane.configuration.store.statements import LOAD, LOCK, WRITE
from controlplane.configuration.store.tables import revision
from controlplane.configuration.store.values import Change, Commit, Head, Preview
from controlplane.errors import NotFoundError, UnavailableError
from controlplane.kit.clock import Clock
from controlplane.kit.database import CONNECTION_LOST, Database, ReadConnection, WriteConnection

IDEMPOTENCY_LIFETIME = timedelta(hours=24)

P = ParamSpec("P")
R = TypeVar("R")

LARGE = 200
"""From so many resources on a commit is worked out in a thread."""

DEPENDANTS_TOLD = 20
"""How many dependants the words of a commit can speak of, where no fault can lie with them."""

OUTCOME_UNKNOWN = (
    "the database went away while it was writing, so the commit may have been made; look at the history, or repeat it "
    "with the same idempotency key"
)


Witness = Callable[[WriteConnection, Commit], Awaitable[None]]
"""Runs in the transaction of a commit, after everything else: what it writes is there if and only if the commit is, and
what it raises undoes the commit. Not asked when nothing changes or a request is answered again."""


class Request(NamedTuple):
    """A commit as asked for, already drafted."""

    environment: str
    draft: Draft
    author: str
    message: str
    expected_revision: Expected
    idempotency_key: str | None
    body: bytes
    witness: Witness | None = None
    machine: str = ""
    """The kind whose own service commits (KindRow.owned); empty: people."""
    bases: Bases = MappingProxyType({})
    ended: bool = False
    """As in Store.commit."""


class Loaded(NamedTuple):
    """What one commit sees. `answer` is the (body, revision) that the idempotency key stands for."""

    head: Head
    kid: str
    answer: tuple[bytes, int] | None
    present: Mapping[ResourceRef, bytes]
    revisions: Mapping[ResourceRef, int]
    """Which revision last changed each of them."""
    size: int
    salt: bytes


class Stale(NamedTuple):
    """The caller's expected revision is not the head's; `mine` is what the commit would have done."""

    head: Head
    mine: tuple[Change, ...]


class Replay(NamedTuple):
    """The idempotency key was used for this same request, which made `revision`."""

    revision: int


class Committer:
    """Writes commits. One instance serves a process."""

    def __init__(self, database: Database, clock: Clock, keys: SigningKeys) -> None:
        self._database = database
        self._clock = clock
        self._keys = keys
        # Within a process commits take turns: those that ran at once would only find that the head moved.
        # Switching safe mode does not queue behind edits, which may have coverage to compare.
        self._turns: WeakValueDictionary[tuple[str, bool], asyncio.Lock] = WeakValueDictionary()

    async def commit(self, request: Request) -> Commit | Stale | Replay:
        """Tries without holding the lock; when somebody else committed meanwhile, again while holding it.

        Raises InvalidInputError with the faults of the outcome, IdempotencyKeyReusedError, NotFoundError.
        """
        async with self._turns.setdefault((request.environment, request.draft.switches), asyncio.Lock()):
            async with self._database.writing() as connection:
                done = await self._attempt(connection, request)
            return done or await self._locked(request)

    async def _locked(self, request: Request) -> Commit | Stale | Replay:
        done: Commit | Stale | Replay | None = None
        try:
            async with self._database.transaction() as connection:
                await connection.execute(LOCK, {"environment": request.environment})
                done = await self._attempt(connection, request)
        except UnavailableError as error:
            if not isinstance(done, Commit):
                raise
            if not await self._is_written(done):  # it broke while committing the transaction
                raise UnavailableError(OUTCOME_UNKNOWN) from error
        assert done is not None, "the head moved although its row was locked"
        return done

    async def preview(self, environment: str, drafted: Draft, bases: Bases, machine: str = "") -> Preview:
        """What a commit of the draft would do now. Raises NotFoundError, and as `compare` does."""
        request = Request(environment, drafted, "", "", None, None, b"", machine=machine, bases=bases)
        at = now_ms(self._clock)
        async with self._database.reading() as connection:
            loaded = await load(connection, request, at)
            compare(bases, loaded.revisions)
            drafted = keep_owned(drafted, loaded.present, machine)
            changes, faults = await aside(loaded.size, settle, drafted, loaded.present, at, machine)
            if faults:
                return Preview(loaded.head, faults[:MAX_FAULTS], (), ())
            drifted = await drift_of(connection, environment, drafted.named, changes, at)
        if drifted.faults:
            return Preview(loaded.head, drifted.faults[:MAX_FAULTS], (), ())
        return Preview(loaded.head, (), (*effective(loaded.present, changes), *drifted.lines), changes)

    async def _attempt(self, connection: WriteConnection, request: Request) -> Commit | Stale | Replay | None:
        at = now_ms(self._clock)
        loaded = await load(connection, request, at)
        if loaded.answer is not None:
            body, answered = loaded.answer
            if body != request.body:
                raise IdempotencyKeyReusedError("this idempotency key was used for another commit")
            return Replay(answered)
        request = request._replace(draft=keep_owned(request.draft, loaded.present, request.machine))
        by = None if request.ended else at
        changes, faults = await aside(loaded.size, settle, request.draft, loaded.present, by, request.machine)
        if not is_expected(request.expected_revision, loaded.head.revision):
            return Stale(loaded.head, changes)
        compare(request.bases, loaded.revisions)
        refuse(faults)
        drifted = await drift_of(connection, request.environment, request.draft.named, changes, at)
        refuse(drifted.faults)
        said = (*effective(loaded.present, changes), *drifted.lines)
        entry = Entry(request.author, request.message, at, changes, said)
        if not changes:
            return _commit(loaded.head, entry, unchanged=True)
        key = await self._keys.get(connection, request.environment, loaded.kid)
        made = await aside(len(changes), record, key, loaded.head, entry, salt=loaded.salt)
        commit = _commit(Head(request.environment, made.epoch, made.revision, made.chain), entry)
        try:
            if request.witness is None:
                return commit if await write(connection, loaded, made, entry, request) else None
            async with connection.together():
                if not await write(connection, loaded, made, entry, request):
                    return None
                await request.witness(connection, commit)
            return commit
        except CONNECTION_LOST as error:
            if await self._is_written(commit):
                return commit
            raise UnavailableError(OUTCOME_UNKNOWN) from error

    async def _is_written(self, commit: Commit) -> bool:
        """Asks on another connection: a chain value belongs to one commit only."""
        query = select(revision.c.chain).where(
            revision.c.environment == commit.environment, revision.c.revision == commit.revision
        )
        try:
            async with self._database.reading() as connection:
                return await connection.sql.scalar(query) == commit.chain
        except UnavailableError:
            raise UnavailableError(OUTCOME_UNKNOWN) from None


async def load(connection: ReadConnection, request: Request, at: datetime) -> Loaded:
    """Raises NotFoundError when there is no such environment."""
    touched, named = list(request.draft.entries), [*request.draft.named, *request.bases]
    rows = await connection.fetch(
        LOAD,
        {
            "environment": request.environment,
            "kinds": [ref.kind for ref in touched],
            "keys": [ref.key for ref in touched],
            "looked_into": [request.draft.looked_into(ref) for ref in touched],
            "told": DEPENDANTS_TOLD,
            "named_kinds": [ref.kind for ref in named],
            "named_keys": [ref.key for ref in named],
            "idempotency_key": request.idempotency_key,
            "horizon": at - IDEMPOTENCY_LIFETIME,
        },
    )
    if not rows:
        raise NotFoundError(f"there is no environment {request.environment}")
    first = rows[0]
    head = Head(request.environment, first["epoch"], first["revision"], first["chain"])
    answer = None if first["body"] is None else (first["body"], first["answered"])
    present = {ResourceRef(row["kind"], row["key"]): row["spec"] for row in rows if row["kind"] is not None}
    revisions = {ResourceRef(row["kind"], row["key"]): row["changed"] for row in rows if row["kind"] is not None}
    size = len(present) + len(touched)
    return Loaded(head, first["signing_kid"], answer, present, revisions, size, first["plane_salt"])


async def write(
    connection: WriteConnection, seen: Loaded, made: Record, entry: Entry, request: Request | None = None
) -> bool:
    """Writes the revision if the head is still the one that was seen; returns whether it was."""
    parameters: dict[str, Any] = {
        "environment": seen.head.environment,
        "seen_epoch": seen.head.epoch,
        "seen_revision": seen.head.revision,
        "kid": seen.kid,
        **made._asdict(),
        "author": entry.author,
        "message": entry.message,
        "effective": list(entry.effective),
        "at": entry.at,
        "changes": len(entry.changes),
        "idempotency_key": request.idempotency_key if request else None,
        "body": request.body if request else b"",
        "horizon": entry.at - IDEMPOTENCY_LIFETIME,
        **_change_columns(entry.changes),
        **_reference_columns(request.draft if request else Draft({})),
    }
    return bool(await connection.fetch(WRITE, parameters))


async def aside(size: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Does work on `size` resources; much of it in a thread, so that a large import stalls nobody else."""
    if size < LARGE:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def body_of(what: object, author: str, message: str, expected_revision: Expected) -> bytes:
    """The digest by which an idempotency key recognises its request; `what` is anything that JSON can say."""
    request = msgspec.json.encode((what, author, message, expected_revision))
    return hashlib.sha256(request).digest()


def now_ms(clock: Clock) -> datetime:
    """The present instant to the millisecond: as an envelope's `ts` says it."""
    now = clock.now()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _commit(head: Head, entry: Entry, *, unchanged: bool = False) -> Commit:
    return Commit(
        head.environment, head.revision, head.epoch, head.chain,
        entry.author, entry.message, entry.at, entry.effective, entry.changes, unchanged=unchanged,
    )  # fmt: skip


def _change_columns(changes: Sequence[Change]) -> dict[str, list[Any]]:
    lists = [listed(change.key, change.after) if change.after is not None else None for change in changes]
    return {
        "kinds": [change.kind for change in changes],
        "keys": [change.key for change in changes],
        "befores": [change.before for change in changes],
        "afters": [change.after for change in changes],
        "types": [shown.type if shown else None for shown in lists],
        "tags": [shown.tags if shown else None for shown in lists],
        "searches": [shown.search if shown else None for shown in lists],
        "gone_kinds": [change.kind for change in changes if change.after is None],
        "gone_keys": [change.key for change in changes if change.after is None],
    }


def _reference_columns(drafted: Draft) -> dict[str, list[str]]:
    links = [(*ref, *target) for ref, spec in drafted.specs for target in references(spec)]
    return {
        "from_kinds": [link[0] for link in links],
        "from_keys": [link[1] for link in links],
        "to_kinds": [link[2] for link in links],
        "to_keys": [link[3] for link in links],
    }
