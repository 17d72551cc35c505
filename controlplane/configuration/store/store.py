"""The store: every read and every change of configuration."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar, Unpack

from brownout.model.resources import ResourceRef, Spec
from brownout.wire import Operation
from controlplane.configuration.store import environments, history, log, read
from controlplane.configuration.store.basis import Bases, Expected, newest
from controlplane.configuration.store.commit import Committer, Replay, Request, Stale, Witness, aside, body_of
from controlplane.configuration.store.draft import Draft, check_words, draft
from controlplane.configuration.store.errors import StaleRevisionError
from controlplane.configuration.store.fence import fence
from controlplane.configuration.store.signing import SigningKeys
from controlplane.configuration.store.values import (
    Commit,
    CommitQuery,
    Diff,
    Environment,
    Head,
    LoggedCommit,
    Preview,
    Resource,
    ResourcePage,
    ResourceQuery,
    State,
    StoredEnvelope,
    VerifiedHistory,
)
from controlplane.configuration.store.verify import verify_history
from controlplane.contract.specs import find_spec, is_newer
from controlplane.errors import InvalidInputError, NotFoundError
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, WriteConnection

S = TypeVar("S", bound=Spec)


class Store:
    """Configuration in Postgres. Refuses with a BrownoutError; then nothing was written and no revision used."""

    def __init__(self, database: Database, clock: Clock, signing_keys: SigningKeys) -> None:
        self._database = database
        self._clock = clock
        self._keys = signing_keys
        self._committer = Committer(database, clock, signing_keys)

    async def create_environment(self, key: str, name: str) -> Environment:
        """Raises InvalidInputError, or ConflictError when there is one already."""
        return await environments.create_environment(self._database, self._clock, self._keys, key, name)

    async def mark_production(
        self, environment: str, production: bool, witness: Callable[[WriteConnection], Awaitable[None]]
    ) -> None:
        """What `witness` writes belongs to it. Raises NotFoundError when there is no such environment."""
        await environments.mark_production(self._database, environment, production, witness)

    async def list_environments(self) -> tuple[Environment, ...]:
        return await environments.list_environments(self._database)

    async def head(self, environment: str) -> Head:
        """Raises NotFoundError when there is no such environment."""
        return await environments.head(self._database, environment)

    async def commit(
        self,
        environment: str,
        ops: Sequence[Operation],
        *,
        author: str,
        message: str,
        expected_revision: Expected = None,
        bases: Bases | None = None,
        idempotency_key: str | None = None,
        asked: object = None,
        witness: Witness | None = None,
        machine: str = "",
        ended: bool = False,
    ) -> Commit:
        """Makes one revision of all `ops`, or none at all. What `witness` writes belongs to it.

        `machine` is the kind whose own service commits: it alone may change what that kind owns (contract/owned.py).

        `asked` is what `ops`, `message` and `expected_revision` were worked out from (anything that JSON can say): then
        it is that which an idempotency key stands for, and there may be no `ops`.

        `ended` permits activations that have ended: they began without the log, and history is to have them.

        Raises:
            InvalidInputError: `faults` point at each operation or resource that is wrong.
            StaleRevisionError: the head is not `expected_revision`; carries both sides.
            ChangedMeanwhileError, AlreadyExistsError: a resource is not what it was at its revision in `bases`.
            IdempotencyKeyReusedError: the key belongs to another commit of the last 24 hours.
            NotFoundError, TooLargeError, UnavailableError.
        """
        check_words(author, message, idempotency_key)
        made_from = sorted((*ref, base) for ref, base in (bases or {}).items())
        what = (ops, made_from) if made_from else ops
        body = body_of(what, author, message, expected_revision) if asked is None else body_of(asked, author, "", None)
        drafted = await aside(len(ops), draft, ops) if ops or asked is None else Draft({})
        request = Request(
            environment,
            drafted,
            author,
            message,
            expected_revision,
            idempotency_key,
            body,
            witness,
            machine,
            bases or {},
            ended,
        )
        return await self._answer(await self._committer.commit(request), request)

    async def preview(
        self, environment: str, ops: Sequence[Operation], *, machine: str = "", bases: Bases | None = None
    ) -> Preview:
        """What `commit` would do now, faults included; writes nothing. Raises as it does for `bases`."""
        head = await self.head(environment)
        try:
            drafted = await aside(len(ops), draft, ops) if ops else Draft({})
        except InvalidInputError as error:
            return Preview(head, error.faults, (), ())
        return await self._committer.preview(environment, drafted, bases or {}, machine)

    async def find_resource(self, environment: str, kind: str, key: str) -> Resource | None:
        return await read.find_resource(self._database, environment, ResourceRef(kind, key))

    async def get_resource(self, environment: str, kind: str, key: str) -> Resource:
        """Raises NotFoundError."""
        found = await self.find_resource(environment, kind, key)
        if found is None:
            raise NotFoundError(f"{environment} has no {kind.replace('_', ' ')} {key}")
        return found

    async def list_resources(self, environment: str, kind: str, **asked: Unpack[ResourceQuery]) -> ResourcePage:
        """A page in order of keys."""
        return await read.list_resources(self._database, environment, kind, **asked)

    async def list_keys(self, environment: str, kind: str) -> tuple[str, ...]:
        """Every key of a kind, however many, in order."""
        return await read.list_keys(self._database, environment, kind)

    async def count_resources(self, environment: str) -> dict[str, int]:
        """How many there are of each kind that has any."""
        return await read.count_resources(self._database, environment)

    async def list_dependants(self, environment: str, kind: str, key: str) -> tuple[ResourceRef, ...]:
        """Who names this resource directly."""
        return await read.list_dependants(self._database, environment, ResourceRef(kind, key))

    async def state(self, environment: str, revision: int | None = None) -> State:
        """Everything at the head, or as it was at `revision`. Raises NotFoundError."""
        if revision is None:
            return await read.head_state(self._database, environment)
        return await history.state_at(self._database, environment, revision)

    async def diff(self, environment: str, start: int, end: int) -> Diff:
        """What leads from one revision to the other, in either direction. Raises NotFoundError."""
        return await history.diff(self._database, environment, start, end)

    async def verify_history(self, environment: str) -> VerifiedHistory:
        """Checks chain, signatures, seals and changes of every revision; names the first that is broken."""
        return await verify_history(self._database, environment)

    async def fence(self, environment: str, seen_revision: int, seen_epoch: int, why: str) -> Head:
        """Starts a new epoch above what was seen of a history that this database has lost; returns the head.

        Whoever comes second, having seen the same, changes nothing.
        """
        seen = (seen_epoch, seen_revision)
        return await fence(self._database, self._clock, self._keys, environment, seen=seen, why=why)

    async def envelopes(self, environment: str, after: int, limit: int) -> tuple[StoredEnvelope, ...]:
        """Up to `limit` revisions above `after`, in order, as they are published."""
        return await log.envelopes(self._database, environment, after, limit)

    async def get_commit(self, environment: str, revision: int) -> Commit:
        """Raises NotFoundError."""
        return await log.get_commit(self._database, environment, revision)

    async def get_commits(self, environment: str, revisions: Collection[int], *, kind: str) -> tuple[Commit, ...]:
        """Those that exist, the newest first, each with what it changed of `kind` alone."""
        return await log.get_commits(self._database, environment, revisions, kind)

    async def list_commits(self, environment: str, **asked: Unpack[CommitQuery]) -> tuple[LoggedCommit, ...]:
        """The newest first. The next page's `before` is the last one's revision."""
        return await log.list_commits(self._database, environment, **asked)

    async def _answer(self, done: Commit | Stale | Replay, request: Request) -> Commit:
        if isinstance(done, Replay):
            return await log.get_commit(self._database, request.environment, done.revision, replayed=True)
        if isinstance(done, Stale):
            raise await self._stale(request, done)
        return done

    async def _stale(self, request: Request, stale: Stale) -> StaleRevisionError:
        """Both sides. An expectation from beyond the head (of a history lost since) has only one."""
        expected, head = newest(request.expected_revision), stale.head.revision
        commits = await log.list_commits(self._database, request.environment, after=expected, before=head + 1)
        theirs = await history.changes_since(self._database, request.environment, expected) if expected < head else ()
        return StaleRevisionError(expected, head, commits, theirs, stale.mine)


async def every_resource(store: Store, environment: str, kind: str, type_: str = "") -> list[Resource]:
    """All there are of a kind, however many, in order of their keys; of flags those of a type, if one is given."""
    found: list[Resource] = []
    after: str | None = ""
    while after is not None:
        page = await store.list_resources(environment, kind, after=after, limit=read.MAX_PAGE, type=type_)
        found += page.items
        after = page.next
    return found


async def every_spec(
    store: Store, environment: str, kind: str, struct: type[S], *, exact: bool = False
) -> list[tuple[str, S]]:
    """Keys and specs of a kind, as SDKs read them: without those that this version cannot read, because a newer one wrote
    them. `exact`: only those that it knows every word of."""
    found = ((each.key, each.spec) for each in await every_resource(store, environment, kind))
    specs = ((key, find_spec(raw, struct)) for key, raw in found if not (exact and is_newer(kind, raw)))
    return [(key, spec) for key, spec in specs if spec is not None]
