"""Jumping ahead of a history that Postgres has lost (docs/adr/0003-transport.md): after a restore to an older point,
SDKs and the stream know revisions that this log does not."""

from datetime import datetime

from controlplane.configuration.store.commit import Request, load, now_ms, write
from controlplane.configuration.store.draft import Draft
from controlplane.configuration.store.record import Entry, record
from controlplane.configuration.store.signing import SigningKeys
from controlplane.configuration.store.statements import LOCK
from controlplane.configuration.store.values import Head
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database

AUTHOR = "system:fence"


async def fence(
    database: Database, clock: Clock, keys: SigningKeys, environment: str, *, seen: tuple[int, int], why: str
) -> Head:
    """Starts a new epoch above everything seen, as a commit of its own whose envelope is `reset`.

    `seen` is the foreign (epoch, revision). Replicas that notice together fence once: whoever comes second finds the
    head beyond it already. Returns the head. Raises NotFoundError.
    """
    request = Request(environment, Draft({}), AUTHOR, why, None, None, b"")
    async with database.transaction() as connection:
        await connection.execute(LOCK, {"environment": environment})
        at = now_ms(clock)
        loaded = await load(connection, request, at)
        found = jump_beyond(loaded.head, seen, why, at)
        if found is None:
            return loaded.head
        entry, jump = found
        key = await keys.get(connection, environment, loaded.kid)
        made = record(key, loaded.head, entry, jump, salt=loaded.salt)
        await write(connection, loaded, made, entry)
    return Head(environment, made.epoch, made.revision, made.chain)


def jump_beyond(head: Head, seen: tuple[int, int], why: str, at: datetime) -> tuple[Entry, tuple[int, int]] | None:
    """The commit that jumps, and the (epoch, revision) it goes to; None when the head is beyond `seen` already."""
    seen_epoch, seen_revision = seen
    if head.epoch > seen_epoch:
        return None
    epoch = max(seen_epoch + 1, int(at.timestamp()))
    revision = max(seen_revision, head.revision) + 1
    effective = (
        f"history continues at revision {revision} in epoch {epoch}; every SDK reloads the configuration of "
        f"revision {head.revision}",
    )
    return Entry(AUTHOR, why, at, (), effective), (epoch, revision)
