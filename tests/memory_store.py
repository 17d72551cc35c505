"""The store without a database, for tests of services: it passes the same suite as the real one.

What is decided (drafts, faults, changes, words, records) is the store's own code; only keeping and finding is not.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from brownout import wire
from brownout.model.check import references
from brownout.model.parse import decode
from brownout.model.resources import ResourceRef
from controlplane.configuration.store import (
    Change,
    Commit,
    Diff,
    Environment,
    Head,
    IdempotencyKeyReusedError,
    LoggedCommit,
    Preview,
    Resource,
    ResourceDiff,
    ResourcePage,
    SigningKey,
    StaleRevisionError,
    State,
    Store,
    StoredEnvelope,
    VerifiedHistory,
)
from controlplane.configuration.store.basis import compare
from controlplane.configuration.store.commit import IDEMPOTENCY_LIFETIME, body_of, now_ms
from controlplane.configuration.store.covering import steps_of
from controlplane.configuration.store.draft import MAX_FAULTS, Draft, check_words, draft, keep_owned, refuse, settle
from controlplane.configuration.store.effective import effective
from controlplane.configuration.store.environments import FIRST_EPOCH, PRODUCTION, check_environment
from controlplane.configuration.store.fence import jump_beyond
from controlplane.configuration.store.fields import field_changes
from controlplane.configuration.store.listing import listed
from controlplane.configuration.store.log import REFS_SHOWN
from controlplane.configuration.store.record import Entry, Record, record
from controlplane.errors import ConflictError, InvalidInputError, NotFoundError
from controlplane.kit.clock import Clock, SystemClock
from controlplane.resilience.drift import Drift, concerns, drift


class Answer(NamedTuple):
    body: bytes
    revision: int
    at: datetime


class Log:
    """One environment."""

    def __init__(self, key: str, name: str, at: datetime) -> None:
        self.key, self.name, self.created_at = key, name, at
        self.signing = SigningKey("memory", Ed25519PrivateKey.generate())
        self.rows: list[tuple[Record, Entry]] = []
        self.answers: dict[str, Answer] = {}

    @property
    def head(self) -> Head:
        if not self.rows:
            return Head(self.key, FIRST_EPOCH, 0, "")
        last = self.rows[-1][0]
        return Head(self.key, last.epoch, last.revision, last.chain)

    def append(self, entry: Entry, jump: tuple[int, int] | None = None) -> Record:
        made = record(self.signing, self.head, entry, jump, salt=b"memory")
        self.rows.append((made, entry))
        return made

    def head_at(self, revision: int) -> Head:
        if revision == 0:
            return Head(self.key, 0, 0, "")
        made, _ = self.row(revision)
        return Head(self.key, made.epoch, made.revision, made.chain)

    def row(self, revision: int) -> tuple[Record, Entry]:
        for made, entry in self.rows:
            if made.revision == revision:
                return made, entry
        raise NotFoundError(f"{self.key} has no revision {revision}")

    def changes(self, upto: int | None = None) -> list[tuple[Record, Entry, Change]]:
        return [
            (made, entry, change)
            for made, entry in self.rows
            if upto is None or made.revision <= upto
            for change in entry.changes
        ]

    def state(self, upto: int | None = None) -> dict[ResourceRef, bytes]:
        last = {change.ref: change.after for _, _, change in self.changes(upto)}
        return {ref: spec for ref, spec in last.items() if spec is not None}

    def between(self, start: int, end: int) -> list[Change]:
        before, after = self.state(start), self.state(end)
        refs = sorted(before.keys() | after.keys())
        return [Change(*r, before.get(r), after.get(r)) for r in refs if before.get(r) != after.get(r)]


class MemoryStore(Store):
    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._logs: dict[str, Log] = {}

    def verifier(self, environment: str) -> wire.Verifier:
        key = self._log(environment).signing
        return wire.Verifier(environment, {key.kid: key.public})

    async def create_environment(self, key: str, name: str) -> Environment:
        check_environment(key, name)
        if key in self._logs:
            raise ConflictError(f"there is an environment {key} already")
        log = self._logs[key] = Log(key, name, now_ms(self._clock))
        return Environment(key, name, FIRST_EPOCH, 0, log.created_at, key == PRODUCTION)

    async def list_environments(self) -> tuple[Environment, ...]:
        logs = self._logs.values()
        return tuple(
            Environment(x.key, x.name, x.head.epoch, x.head.revision, x.created_at, x.key == PRODUCTION) for x in logs
        )

    async def head(self, environment: str) -> Head:
        return self._log(environment).head

    async def commit(
        self,
        environment,
        ops,
        *,
        author,
        message,
        expected_revision=None,
        bases=None,
        idempotency_key=None,
        asked=None,
        witness=None,
        machine="",
    ):
        assert asked is None
        assert witness is None, "there is no transaction to write in"
        check_words(author, message, idempotency_key)
        body = body_of(ops, author, message, expected_revision)
        compare(bases or {}, self._revisions(environment, bases or {}))
        return self._commit(environment, draft(ops), author, message, expected_revision, idempotency_key, body, machine)

    def _revisions(self, environment, refs):
        return {
            ref: one.revision for ref in refs for one in self._resources(environment, ref.kind) if one.key == ref.key
        }

    async def preview(
        self, environment: str, ops: Sequence[wire.Operation], *, machine: str = "", bases=None
    ) -> Preview:
        compare(bases or {}, self._revisions(environment, bases or {}))
        log = self._log(environment)
        try:
            drafted = draft(ops) if ops else Draft({})
        except InvalidInputError as error:
            return Preview(log.head, error.faults, (), ())
        drafted = keep_owned(drafted, log.state(), machine)
        changes, faults = settle(drafted, log.state(), now_ms(self._clock), machine)
        drifted = Drift() if faults else self._drift(environment, changes)
        if faults or drifted.faults:
            return Preview(log.head, (*faults, *drifted.faults)[:MAX_FAULTS], (), ())
        return Preview(log.head, (), (*effective(log.state(), changes), *drifted.lines), changes)

    def _drift(self, environment: str, changes: Sequence[Change]) -> Drift:
        steps = steps_of(changes)
        return drift(self._log(environment).state(), steps, now_ms(self._clock)) if concerns(steps) else Drift()

    async def find_resource(self, environment: str, kind: str, key: str) -> Resource | None:
        return next((one for one in self._resources(environment, kind) if one.key == key), None)

    async def list_resources(self, environment, kind, *, search="", tags=(), type="", after="", limit=100):  # noqa: A002
        found = []
        for one in self._resources(environment, kind):
            shown = listed(one.key, one.spec)
            if (
                one.key > after
                and all(word in shown.search for word in search.lower().split())
                and set(tags) <= set(shown.tags.split("\n"))
                and type in {"", shown.type}
            ):
                found.append(one)
        page = tuple(found[:limit])
        return ResourcePage(page, page[-1].key if len(found) > limit else None)

    async def count_resources(self, environment: str) -> dict[str, int]:
        kinds = [ref.kind for ref in self._log(environment).state()]
        return {kind: kinds.count(kind) for kind in kinds}

    async def list_dependants(self, environment: str, kind: str, key: str) -> tuple[ResourceRef, ...]:
        state = self._log(environment).state()
        ref = ResourceRef(kind, key)
        return tuple(sorted(r for r, spec in state.items() if ref in references(decode(r.kind, spec))))

    async def state(self, environment: str, revision: int | None = None) -> State:
        log = self._log(environment)
        head = log.head if revision is None else log.head_at(revision)
        return State(head, log.state(revision))

    async def diff(self, environment: str, start: int, end: int) -> Diff:
        log = self._log(environment)
        log.head_at(start), log.head_at(end)
        found = [ResourceDiff(*c.ref, c.before, c.after, field_changes(c)) for c in log.between(start, end)]
        return Diff(environment, start, end, tuple(found))

    async def verify_history(self, environment: str) -> VerifiedHistory:
        return VerifiedHistory(environment, len(self._log(environment).rows), None)

    async def fence(self, environment: str, seen_revision: int, seen_epoch: int, why: str) -> Head:
        log = self._log(environment)
        found = jump_beyond(log.head, (seen_epoch, seen_revision), why, now_ms(self._clock))
        if found:
            log.append(*found)
        return log.head

    async def envelopes(self, environment: str, after: int, limit: int) -> tuple[StoredEnvelope, ...]:
        rows = [made for made, _ in self._log(environment).rows if made.revision > after]
        return tuple(
            StoredEnvelope(m.revision, m.epoch, m.previous_chain, m.chain, m.payload, m.signature, m.reset)
            for m in rows[:limit]
        )

    async def get_commit(self, environment: str, revision: int) -> Commit:
        return self._told(environment, revision)

    async def get_commits(self, environment, revisions, *, kind):
        told = [self._told(environment, revision) for revision in sorted(revisions, reverse=True)]
        return tuple(
            msgspec.structs.replace(each, changes=tuple(change for change in each.changes if change.kind == kind))
            for each in told
        )

    async def list_commits(
        self, environment, *, before=None, limit=50, author=None, kind=None, key=None, since=None, until=None
    ):
        found = []
        for made, entry in reversed(self._log(environment).rows):
            refs = [change.ref for change in entry.changes]
            if (
                (before is None or made.revision < before)
                and author in {None, entry.author}
                and (since is None or entry.at >= since)
                and (until is None or entry.at < until)
                and (kind is key is None or any(kind in {None, r.kind} and key in {None, r.key} for r in refs))
            ):
                words = (entry.author, entry.message, entry.at, entry.effective)
                shown = tuple(refs[:REFS_SHOWN])
                found.append(LoggedCommit(environment, made.revision, made.epoch, *words, len(refs), shown))
        return tuple(found[:limit])

    def _log(self, environment: str) -> Log:
        if environment not in self._logs:
            raise NotFoundError(f"there is no environment {environment}")
        return self._logs[environment]

    def _resources(self, environment: str, kind: str) -> list[Resource]:
        log = self._log(environment)
        last = {change.ref: (made, entry) for made, entry, change in log.changes()}
        return [
            Resource(*ref, spec, last[ref][0].revision, last[ref][1].at, last[ref][1].author)
            for ref, spec in sorted(log.state().items())
            if ref.kind == kind
        ]

    def _commit(self, environment, drafted, author, message, expected, idempotency_key, body, machine=""):
        log, at = self._log(environment), now_ms(self._clock)
        answer = log.answers.get(idempotency_key)
        if answer and answer.at > at - IDEMPOTENCY_LIFETIME:
            if answer.body != body:
                raise IdempotencyKeyReusedError("this idempotency key was used for another commit")
            return self._told(environment, answer.revision, replayed=True)
        head, present = log.head, log.state()
        drafted = keep_owned(drafted, present, machine)
        changes, faults = settle(drafted, present, at, machine)
        if expected not in {None, head.revision}:
            lines = [self._line(environment, made) for made, _ in reversed(log.rows) if made.revision > expected]
            theirs = tuple(log.between(expected, head.revision)) if expected < head.revision else ()
            raise StaleRevisionError(expected, head.revision, tuple(lines), theirs, changes)
        refuse(faults)
        drifted = self._drift(environment, changes)
        refuse(drifted.faults)
        entry = Entry(author, message, at, changes, (*effective(present, changes), *drifted.lines))
        if not changes:
            words = (author, message, at, entry.effective)
            return Commit(environment, head.revision, head.epoch, head.chain, *words, (), unchanged=True)
        made = log.append(entry)
        if idempotency_key:
            log.answers[idempotency_key] = Answer(body, made.revision, at)
        return self._told(environment, made.revision)

    def _told(self, environment: str, revision: int, *, replayed: bool = False) -> Commit:
        made, entry = self._log(environment).row(revision)
        words = (entry.author, entry.message, entry.at, entry.effective)
        return Commit(environment, revision, made.epoch, made.chain, *words, entry.changes, replayed=replayed)

    def _line(self, environment: str, made: Record) -> LoggedCommit:
        entry = self._log(environment).row(made.revision)[1]
        refs = tuple(change.ref for change in entry.changes)
        words = (entry.author, entry.message, entry.at, entry.effective)
        return LoggedCommit(environment, made.revision, made.epoch, *words, len(refs), refs[:REFS_SHOWN])
