"""The one gate through which everything writes: API, CLI, console, safe mode and rollouts."""

from collections.abc import Callable, Sequence

from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, authorize
from controlplane.access.rule import CommitRule, Pass
from controlplane.configuration.readers import Readers
from controlplane.configuration.store import Store, count_of_kind
from controlplane.configuration.store.basis import Bases, Expected
from controlplane.configuration.store.commit import Witness
from controlplane.configuration.store.values import Commit, Preview
from controlplane.contract.activations import MAX_BY_AUTOMATION, TooManyActivationsError, is_automation
from controlplane.contract.kinds import alone, words
from controlplane.errors import ConflictError, InvalidInputError
from controlplane.kit.database import WriteConnection

ACTIVATION = "safe_mode_activation"


class WouldOverwriteError(ConflictError):
    """Switching safe mode creates what it needs; a resource of that key was there. Nothing was written."""


class Changes:
    """`commit` = may they? → store, may they alone? and audit log, in one → wake the publisher."""

    def __init__(
        self, store: Store, rule: CommitRule, wake: Callable[[str, int], None], told: Witness | None = None
    ) -> None:
        """`told` hears of each commit in its transaction, once nothing refuses it."""
        self._told = told
        self._store = store
        self._rule = rule
        self._wake = wake
        self.readers = Readers()

    async def commit(
        self,
        actor: Actor,
        environment: str,
        ops: Sequence[Operation],
        message: str,
        *,
        action: Action = Action.EDIT,
        expected_revision: Expected = None,
        bases: Bases | None = None,
        idempotency_key: str | None = None,
        asked: object = None,
        guard: Callable[[Commit], None] | None = None,
        machine: str = "",
        ended: bool = False,
    ) -> Commit:
        """Writes `ops` as one revision; `asked`, `machine` and `ended` as in Store.commit. What `guard` raises, having seen it,
        undoes it.

        Raises:
            ForbiddenError: the actor may not do this here.
            ApprovalRequiredError: not without others (access/rule.py).
            TooManyActivationsError: it adds one, and only a person may.
            InvalidInputError: the environment would no longer compile, or a live instance could not read what this says
                of safe mode; every fault is named.
            ConflictError: `expected_revision` is no longer the head, a resource is not what it was at its revision in
                `bases` (configuration/store/basis.py), or the idempotency key was used for other ops.
        """
        self._authorize(actor, environment, ops, action)
        self._refuse_unread(environment, ops)

        async def witness(connection: WriteConnection, commit: Commit) -> None:
            if guard is not None:
                guard(commit)
            if action is Action.SAFE_MODE:
                _refuse_to_overwrite(ops, commit)
            await _check_activations(connection, actor, commit)
            how = await self._rule.passes(connection, actor, commit, ops, action)
            await self._tell(connection, commit)
            await self._rule.record(connection, actor, commit, how)

        commit = await self._store.commit(
            environment,
            ops,
            author=actor.name,
            message=message,
            expected_revision=expected_revision,
            bases=bases,
            idempotency_key=idempotency_key,
            asked=asked,
            witness=witness,
            machine=machine,
            ended=ended,
        )
        self._wake(environment, commit.revision)
        return commit

    async def carry_out(
        self,
        actor: Actor,
        environment: str,
        ops: Sequence[Operation],
        message: str,
        *,
        author: str,
        expected_revision: int,
        closing: Witness,
    ) -> Commit:
        """Commits what enough others have approved; access/proposals.py alone calls it, having counted them, and counts
        them again in `closing`, in the commit's own transaction.

        The author of the commit is the proposal's, whoever presses the button; the audit log names both.
        """
        self._authorize(actor, environment, ops, Action.EDIT)
        self._refuse_unread(environment, ops)

        async def witness(connection: WriteConnection, commit: Commit) -> None:
            await closing(connection, commit)
            await self._tell(connection, commit)
            await self._rule.record(connection, actor, commit, Pass("approved"))

        commit = await self._store.commit(
            environment, ops, author=author, message=message, expected_revision=expected_revision, witness=witness
        )
        self._wake(environment, commit.revision)
        return commit

    async def _tell(self, connection: WriteConnection, commit: Commit) -> None:
        if self._told is not None:
            await self._told(connection, commit)

    async def preview(
        self,
        actor: Actor,
        environment: str,
        ops: Sequence[Operation],
        *,
        action: Action = Action.EDIT,
        machine: str = "",
        bases: Bases | None = None,
    ) -> Preview:
        """What `commit` would do; writes nothing. Raises as it does for `bases`."""
        self._authorize(actor, environment, ops, action)
        preview = await self._store.preview(environment, ops, machine=machine, bases=bases)
        if faults := self.readers.faults(environment, ops):
            return Preview(preview.head, (*preview.faults, *faults), (), ())
        return preview

    def _refuse_unread(self, environment: str, ops: Sequence[Operation]) -> None:
        if faults := self.readers.faults(environment, ops):
            raise InvalidInputError(faults[0].message, faults)

    @staticmethod
    def _authorize(actor: Actor, environment: str, ops: Sequence[Operation], action: Action) -> None:
        """Being allowed one thing is no way to another: activations need SAFE_MODE, whatever they travel with, and with it
        nothing else may travel but what switching safe mode creates."""
        authorize(actor, action, environment)
        activations = sum(op.kind == ACTIVATION for op in ops)
        if activations and action is not Action.SAFE_MODE:
            authorize(actor, Action.SAFE_MODE, environment)
        if action is Action.SAFE_MODE and not all(map(alone, ops)):
            authorize(actor, Action.EDIT, environment)


def _refuse_to_overwrite(ops: Sequence[Operation], commit: Commit) -> None:
    """What may be committed alone because of what it says must not replace something that said more."""
    if not all(map(alone, ops)):
        return
    for change in commit.changes:
        if change.kind != ACTIVATION and change.before is not None:
            raise WouldOverwriteError(f"there is a {words(change.kind)} {change.key} already. Nothing was saved")


async def _check_activations(connection: WriteConnection, actor: Actor, commit: Commit) -> None:
    """In the commit's transaction, so that many at once cannot pass one another. Raises TooManyActivationsError."""
    adds = any(change.kind == ACTIVATION and change.before is None for change in commit.changes)
    if not adds or not is_automation(actor):
        return
    if await count_of_kind(connection, commit.environment, ACTIVATION) > MAX_BY_AUTOMATION:
        raise TooManyActivationsError(
            f"{commit.environment} has {MAX_BY_AUTOMATION} activations or more, so only a person may add one: lift or "
            "extend one that is on, or activate it yourself in the console. Nothing was saved"
        )
