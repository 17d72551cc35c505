"""What only the store refuses with."""

from typing import TYPE_CHECKING

from controlplane.errors import ConflictError

if TYPE_CHECKING:
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


class IdempotencyKeyReusedError(ConflictError):
    """The idempotency key belongs to another request."""

    code = "idempotency_key_reused"
