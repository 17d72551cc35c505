"""Going back: a new commit that makes resources what they were. History itself never changes."""

from collections.abc import Collection, Sequence

import msgspec

from brownout.model.resources import ResourceRef
from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration.changes import Changes
from controlplane.configuration.store import Store
from controlplane.configuration.store.basis import Expected
from controlplane.configuration.store.errors import ChangedMeanwhileError
from controlplane.configuration.store.values import Commit, Preview, ResourceDiff
from controlplane.contract.kinds import KINDS, row, without_owned, words
from controlplane.errors import ConflictError, Fault, InvalidInputError


class Restores:
    """Safe mode is left as it is now: an old revision must neither lift nor revive an activation (ADR 0051). So are
    rollouts and their rules: evidence, stage and what is served belong together (ADR 0076)."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def restore(
        self,
        actor: Actor,
        environment: str,
        revision: int,
        *,
        refs: Collection[ResourceRef] = (),
        message: str = "",
        expected_revision: Expected = None,
        seen: int | None = None,
        idempotency_key: str | None = None,
    ) -> Commit:
        """Brings `refs` (none = everything) back to `revision`. `seen`: the head that the actor looked at.

        Raises:
            NotFoundError: no such revision.
            ChangedMeanwhileError: someone changed after `seen` what this would put back.
            ConflictError: nothing differs, somebody committed meanwhile, or the idempotency key was used for another
                request.
            InvalidInputError: it would not compile with what exists now.
        """
        ops, head = await self._plan(actor, environment, revision, refs)
        nothing = ConflictError(
            f"nothing to restore: that is already as it was at revision {revision}, rollouts and safe mode aside"
        )
        if not ops and idempotency_key is None:
            raise nothing
        if seen is not None and seen < head:
            await self._refuse_unseen(environment, ops, seen, head)
        commit = await self._changes.commit(
            actor,
            environment,
            ops,
            message or f"Restore revision {revision}",
            expected_revision=head if expected_revision is None else expected_revision,
            idempotency_key=idempotency_key,
            asked=("restore", revision, sorted(refs), message, expected_revision),
        )
        if commit.unchanged:
            raise nothing
        return commit

    async def _refuse_unseen(self, environment: str, ops: Sequence[Operation], seen: int, head: int) -> None:
        """The commit expects `head`, so nothing that comes later is missed."""
        touched = {(op.kind, op.key) for op in ops}
        for since in (await self._store.diff(environment, seen, head)).resources:
            if (since.kind, since.key) in touched:
                raise ChangedMeanwhileError(ResourceRef(since.kind, since.key), seen, head)

    async def operations(
        self, actor: Actor, environment: str, revision: int, refs: Collection[ResourceRef] = ()
    ) -> tuple[tuple[Operation, ...], int]:
        """What `restore` would commit, and the head that it leads back from: to propose where it needs approvals."""
        return await self._plan(actor, environment, revision, refs)

    async def preview(
        self, actor: Actor, environment: str, revision: int, refs: Collection[ResourceRef] = ()
    ) -> Preview:
        """What `restore` would do; writes nothing."""
        ops, _ = await self._plan(actor, environment, revision, refs)
        if not ops:
            return Preview(await self._store.head(environment), (), (), ())
        return await self._changes.preview(actor, environment, ops)

    async def _plan(
        self, actor: Actor, environment: str, revision: int, refs: Collection[ResourceRef]
    ) -> tuple[tuple[Operation, ...], int]:
        authorize(actor, Action.EDIT, environment)
        faults = tuple(_fault(ref, f"/refs/{i}/kind") for i, ref in enumerate(refs) if not row(ref.kind).restored)
        if faults:
            raise InvalidInputError(faults[0].message, faults)
        head = await self._store.head(environment)
        diff = await self._store.diff(environment, head.revision, revision)
        wanted = [
            found
            for found in diff.resources
            if row(found.kind).restored and (not refs or ResourceRef(found.kind, found.key) in refs) and _differs(found)
        ]
        return tuple(map(_operation, wanted)), head.revision


def _fault(ref: ResourceRef, pointer: str) -> Fault:
    if ref.kind in KINDS:
        way = f"a {words(ref.kind)} is not restored: it changes by its own commands, `brownout {words(ref.kind)} …`"
        if row(ref.kind).owned is None:
            way = f"a {words(ref.kind)} is switched, not restored"
        return Fault("invalid_value", way, pointer)
    return Fault("unknown_kind", f"there is no kind {ref.kind[:100]!r}", pointer)


def _differs(change: ResourceDiff) -> bool:
    """Whether anything differs that people own."""
    if change.before is None or change.after is None:
        return True
    return without_owned(change.kind, change.before) != without_owned(change.kind, change.after)


def _operation(change: ResourceDiff) -> Operation:
    if change.after is None:
        return Operation("del", change.kind, change.key)
    return Operation("put", change.kind, change.key, msgspec.Raw(without_owned(change.kind, change.after)))
