"""The audit log's rows. A trigger numbers and chains them; another refuses to change them."""

from collections.abc import Sequence

import msgspec

from controlplane.access.queries.base import fetch, run
from controlplane.kit.database import ReadConnection, WriteConnection


class Line(msgspec.Struct, frozen=True):
    """One row as it is kept: `entry` is the exact text that `chain` covers."""

    sequence: int
    entry: str
    previous_chain: str
    chain: str


class Newest(msgspec.Struct, frozen=True):
    sequence: int


HELD_MS = 4_000
"""A replica that freezes in the middle of a commit holds up the others for no longer, and so less than LOCK_TIMEOUT_MS."""


async def append(connection: WriteConnection, entry: str) -> None:
    """Last in its transaction: it holds the log's lock until that ends (ADR 0141)."""
    sql = "INSERT INTO audit (entry) SELECT :entry FROM set_config('idle_in_transaction_session_timeout', :held, true)"
    await run(connection, sql, entry=entry, held=str(HELD_MS))


async def page(
    connection: ReadConnection, *, before: int, limit: int, event: str, who: str, environments: list[str] | None
) -> list[Line]:
    """Newest first. `environments` None: all of them."""
    return await fetch(
        connection,
        Line,
        """
        SELECT sequence, entry, previous_chain, chain FROM audit
        WHERE sequence < :before
          AND (:event = '' OR event = :event)
          AND (:who = '' OR actor = :who)
          AND (CAST(:environments AS text[]) IS NULL OR environment = ANY(CAST(:environments AS text[])))
        ORDER BY sequence DESC LIMIT :limit
        """,
        before=before, limit=limit, event=event, who=who, environments=environments,
    )  # fmt: skip


async def newest(connection: ReadConnection, events: Sequence[str]) -> int:
    """The highest sequence among `events`, each read from the end of its own index; 0 when there are none."""
    found = await fetch(
        connection,
        Newest,
        """
        SELECT coalesce(max(latest.sequence), 0) AS sequence FROM unnest(CAST(:events AS text[])) AS asked(event)
        CROSS JOIN LATERAL (SELECT sequence FROM audit WHERE event = asked.event ORDER BY sequence DESC LIMIT 1) AS latest
        """,
        events=list(events),
    )
    return found[0].sequence


async def after(connection: ReadConnection, sequence: int, limit: int) -> list[Line]:
    """Oldest first."""
    return await fetch(
        connection,
        Line,
        "SELECT sequence, entry, previous_chain, chain FROM audit WHERE sequence > :after ORDER BY sequence LIMIT :limit",
        after=sequence, limit=limit,
    )  # fmt: skip
