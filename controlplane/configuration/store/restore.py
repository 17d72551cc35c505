"""Rolling back: a new commit that makes things what they were."""

from collections.abc import Collection

from brownout.model.resources import ResourceRef
from brownout.wire import Operation
from controlplane.configuration.store import environments, history
from controlplane.configuration.store.commit import Committer, Replay, Request, Stale, aside
from controlplane.configuration.store.draft import Draft, draft
from controlplane.configuration.store.values import Commit
from controlplane.errors import ConflictError
from controlplane.kit.database import Database

ATTEMPTS = 5


async def restore(
    database: Database,
    committer: Committer,
    request: Request,
    to_revision: int,
    refs: Collection[ResourceRef] | None,
) -> Commit | Stale | Replay:
    """Commits what leads from the head back to `to_revision`; again when the head moved meanwhile, unless the caller
    said which head it expects."""
    for _ in range(ATTEMPTS):
        head = await environments.head(database, request.environment)
        ops = await restoring(database, request.environment, head.revision, to_revision, refs)
        expected = request.expected_revision if request.expected_revision is not None else head.revision
        drafted = await aside(len(ops), draft, ops) if ops else Draft({})
        done = await committer.commit(request._replace(draft=drafted, expected_revision=expected))
        if not isinstance(done, Stale) or request.expected_revision is not None:
            return done
    raise ConflictError("others keep committing; nothing was restored, try again")


async def restoring(
    database: Database, environment: str, head: int, to_revision: int, refs: Collection[ResourceRef] | None
) -> list[Operation]:
    """The operations that lead from `head` back. Raises NotFoundError when `to_revision` never was."""
    between = await history.diff(database, environment, head, to_revision, refs)
    return history.operations_to(between.resources)
