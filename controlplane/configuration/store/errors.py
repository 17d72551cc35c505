"""What only the store refuses with."""

from typing import TYPE_CHECKING

from controlplane.errors import ConflictError, Fault

if TYPE_CHECKING:
    from brownout.model.resources import ResourceRef
    from controlplane.configuration.store.values import Change, LoggedCommit


class StaleRevisionError(ConflictError):
    """Somebody committed since the caller read. Both sides: `commits` and `theirs` since then, and `mine`."""

    code = "stale_revision"

    def __init__(
        self,
        expected: int,
        head: int,
        commits: "tuple[LoggedCommit, ...]",
        theirs: "tuple[Change, ...]",
        mine: "tuple[Change, ...]",
    ) -> None:
        who = sorted({commit.author for commit in commits})
        by = f"; changed since by {', '.join(who[:3])}" + (" and others" if len(who) > 3 else "") if who else ""
        super().__init__(f"expected revision {expected}, but the environment is at {head}{by}")
        self.expected = expected
        self.head = head
        self.commits = commits
        self.theirs = theirs
        self.mine = mine


class ChangedMeanwhileError(ConflictError):
    """The resource is not what the writer read: someone changed or deleted it since. Nothing was saved."""

    code = "stale_resource"

    def __init__(self, ref: "ResourceRef", base: int, revision: int) -> None:
        name = f"{ref.kind.replace('_', ' ')} {ref.key}"
        now = f"was changed in revision {revision}" if revision else "does not exist any more"
        was = f", after revision {base} that this change was made from" if base > 0 else ""
        super().__init__(f"{name} {now}{was}. Nothing was saved; read it again")
        self.ref = ref
        self.base = base
        self.revision = revision


class AlreadyExistsError(ConflictError):
    """The writer meant to create it. Nothing was saved."""

    code = "already_exists"

    def __init__(self, ref: "ResourceRef") -> None:
        message = f"there is a {ref.kind.replace('_', ' ')} {ref.key} already. Nothing was saved; choose another key"
        super().__init__(message, (Fault("already_exists", message, "/key"),))
        self.ref = ref


class IdempotencyKeyReusedError(ConflictError):
    """The idempotency key belongs to another request."""

    code = "idempotency_key_reused"
