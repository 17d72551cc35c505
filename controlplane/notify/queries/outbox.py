"""Events and deliveries: written in the transaction of their cause, taken by whichever replica is free."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from controlplane.kit.database import ReadConnection, WriteConnection
from controlplane.kit.rows import fetch, fetch_one, fetch_value, run
from controlplane.notify.events import NewEvent
from controlplane.notify.kinds import Severity
from controlplane.notify.values import BUILTIN

_PUT_EVENT = """
INSERT INTO event (message_id, kind, environment, severity, dedupe, data, created_at)
VALUES (:message_id, :kind, :environment, :severity, :dedupe, :data, :now)
ON CONFLICT (message_id) DO NOTHING
RETURNING id
"""

_ROUTE = f"""
WITH made AS ({_PUT_EVENT}),
routes AS (
    SELECT ARRAY(
        SELECT channel.key FROM unnest(subscription.channels) WITH ORDINALITY AS named (key, place)
        JOIN channel ON channel.key = named.key
        WHERE NOT channel.key = ANY(CAST(:without AS text[]))
        ORDER BY named.place
    ) AS chain
    FROM subscription
    WHERE subscription.severity <= :severity AND subscription.kinds && CAST(:names AS text[])
      AND ('*' = ANY(subscription.environments) OR CAST(:environment AS text) = ANY(subscription.environments))
)
INSERT INTO delivery (event, channel, then_to, dedupe, kind, severity, created_at, next_at)
SELECT made.id, named.key, ARRAY(
    SELECT later.key FROM routes, unnest(routes.chain[2:]) WITH ORDINALITY AS later (key, place)
    WHERE routes.chain[1] = named.key GROUP BY later.key ORDER BY min(later.place), later.key
), :dedupe, :kind, :severity, :now, :now
FROM made, (SELECT DISTINCT chain[1] AS key FROM routes WHERE cardinality(chain) > 0) AS named
WHERE NOT named.key = ANY(CAST(:taken AS text[]))
"""  # noqa: S608 - put together from constants

_TO = f"""
WITH made AS ({_PUT_EVENT})
INSERT INTO delivery (event, channel, then_to, dedupe, kind, severity, created_at, next_at)
SELECT made.id, channel.key, '{{}}', :dedupe, :kind, :severity, :now, :now
FROM made, channel WHERE channel.key = ANY(CAST(:channels AS text[]))
"""  # noqa: S608 - put together from constants


async def put(
    connection: WriteConnection,
    event: NewEvent,
    now: datetime,
    *,
    without: Sequence[str] = (),
    taken: Sequence[str] = (),
) -> int:
    """Writes the event and a delivery for the first channel of each subscription to it; returns how many. The later
    channels of subscriptions with the same first one are put in one line. Writes nothing when the message id is known.
    `without`: as if these channels were not there. `taken`: these have been told, so the next ones need not be.
    """
    return await run(
        connection, _ROUTE, **_values(event, now), names=event.names, without=list(without), taken=list(taken)
    )


async def put_to(connection: WriteConnection, event: NewEvent, now: datetime, channels: Sequence[str]) -> int:
    """As `put`, for these channels and no other."""
    return await run(connection, _TO, **_values(event, now), channels=list(channels))


def _values(event: NewEvent, now: datetime) -> dict[str, object]:
    return {
        "message_id": event.message_id, "kind": event.kind, "environment": event.environment,
        "severity": event.severity, "dedupe": event.dedupe, "data": msgspec.json.encode(event.data).decode(), "now": now,
    }  # fmt: skip


class Due(msgspec.Struct, frozen=True):
    """A delivery in hand, with what its sender needs."""

    id: int
    event: int
    message_id: str
    kind: str
    environment: str
    severity: int
    dedupe: str
    data: str
    event_at: datetime
    attempts: int
    created_at: datetime
    then_to: tuple[str, ...]
    channel: str
    channel_kind: str
    sealed: bytes | None
    acknowledged: bool


_CLAIM = f"""
SELECT one.id, one.event, event.message_id, event.kind, event.environment, event.severity, event.dedupe, event.data,
       event.created_at AS event_at, one.attempts, one.created_at, one.then_to, one.channel,
       channel.kind AS channel_kind, channel.sealed,
       EXISTS (SELECT FROM ack WHERE ack.event = one.event) AS acknowledged
FROM delivery AS one JOIN event ON event.id = one.event JOIN channel ON channel.key = one.channel
WHERE one.ended_at IS NULL AND one.next_at <= :now {{pages}}
  AND channel.paused_at IS NULL AND (channel.retry_at IS NULL OR channel.retry_at <= :now)
  AND NOT one.channel = ANY(CAST(:skip AS text[])) AND channel.kind = ANY(CAST(:kinds AS text[]))
  AND NOT EXISTS (
      SELECT FROM delivery AS older
      WHERE older.channel = one.channel AND older.ended_at IS NULL AND older.id < one.id AND older.dedupe = one.dedupe
  )
  AND (one.channel <> '{BUILTIN}' OR NOT EXISTS (
      SELECT FROM delivery AS older
      WHERE older.channel = one.channel AND older.ended_at IS NULL AND older.id < one.id AND older.kind = one.kind
  ))
ORDER BY one.next_at, one.id
LIMIT 1 FOR UPDATE OF one SKIP LOCKED
"""  # noqa: S608 - put together from constants


_CLAIM_PAGE = _CLAIM.format(pages=f"AND one.severity >= {int(Severity.PAGE)}")
_CLAIM_ANY = _CLAIM.format(pages="")


async def claim(connection: WriteConnection, now: datetime, *, kinds: Sequence[str], skip: Sequence[str]) -> Due | None:
    """One delivery that is due, of a channel of these kinds, locked until the transaction ends. It waits for the older ones about the same thing,
    also while another replica has them in hand; for the channel of the settings, for the older ones of its kind, too.
    Pages come first; then what has been due for the longest, so that new events do not wait behind one that fails."""
    for sql in (_CLAIM_PAGE, _CLAIM_ANY):
        if (found := await fetch_one(connection, Due, sql, now=now, kinds=list(kinds), skip=list(skip))) is not None:
            return found
    return None


async def acknowledged_since(connection: ReadConnection, event: int, since: datetime) -> bool:
    """Whether someone has acknowledged the event at `since` or later."""
    sql = "SELECT EXISTS (SELECT FROM ack WHERE event = :event AND at >= :since)"
    return bool(await fetch_value(connection, sql, event=event, since=since))


async def end(connection: WriteConnection, delivery: int, state: str, now: datetime, error: str = "") -> None:
    await run(
        connection,
        "UPDATE delivery SET state = :state, ended_at = :now, error = :error, attempts = attempts + 1 WHERE id = :id",
        id=delivery, state=state, now=now, error=error,
    )  # fmt: skip


async def postpone(connection: WriteConnection, delivery: int, until: datetime, error: str) -> None:
    await run(
        connection,
        "UPDATE delivery SET state = 'waiting', attempts = attempts + 1, next_at = :until, error = :error WHERE id = :id",
        id=delivery, until=until, error=error,
    )  # fmt: skip


_NEXT = """
    SELECT named.key, CAST(named.place AS int) AS place
    FROM unnest(one.then_to) WITH ORDINALITY AS named (key, place)
    JOIN channel ON channel.key = named.key AND channel.paused_at IS NULL
    WHERE NOT EXISTS (SELECT FROM delivery AS same WHERE same.event = one.event AND same.channel = named.key)
      AND NOT EXISTS (SELECT FROM ack WHERE ack.event = one.event)
    ORDER BY named.place LIMIT 1
"""
"""The channel that `one` goes to next: it is not paused, and does not have the event from elsewhere. None when someone
has acknowledged the event."""

_PASS_ON = f"""
INSERT INTO delivery (event, channel, then_to, dedupe, kind, severity, created_at, next_at)
SELECT one.event, next.key, one.then_to[next.place + 1:], one.dedupe, one.kind, one.severity, :now, :now
FROM delivery AS one CROSS JOIN LATERAL ({_NEXT}) AS next
WHERE one.id = :id
"""  # noqa: S608 - put together from constants


async def pass_on(connection: WriteConnection, delivery: int, now: datetime) -> int:
    """Gives what a delivery was to tell to the next channel that can take it. Returns 0 when there is none: then the
    delivery is all there is, and must not end because of the next channel."""
    return await run(connection, _PASS_ON, id=delivery, now=now)


class Late(msgspec.Struct, frozen=True):
    id: int
    channel: str


_LATE = f"""
SELECT one.id, one.channel FROM delivery AS one JOIN channel AS now_at ON now_at.key = one.channel
WHERE one.ended_at IS NULL AND one.severity >= :severity AND cardinality(one.then_to) > 0
  AND (one.created_at <= :since OR now_at.paused_at IS NOT NULL)
  AND EXISTS ({_NEXT})
ORDER BY one.id LIMIT :limit FOR UPDATE OF one SKIP LOCKED
"""  # noqa: S608 - put together from constants


async def late_pages(connection: WriteConnection, severity: int, since: datetime, limit: int) -> list[Late]:
    """Deliveries of pages that their channel has not taken since then, or does not take while it is paused, and that
    have another channel to go to. Locked; what is being sent right now is left alone."""
    return await fetch(connection, Late, _LATE, severity=severity, since=since, limit=limit)


async def drop_expired(connection: WriteConnection, now: datetime, kept: timedelta, limit: int) -> int:
    """Ends what no replica has sent for too long, because the channel is paused or of a kind that none knows; returns
    how many."""
    return await run(
        connection,
        """
        UPDATE delivery SET state = 'skipped', ended_at = :now, error = 'kept for too long'
        WHERE id = ANY(ARRAY(
            SELECT one.id FROM delivery AS one
            JOIN channel ON channel.key = one.channel JOIN event ON event.id = one.event
            WHERE one.ended_at IS NULL
              AND (one.created_at < :before OR (event.created_at < :before AND channel.paused_at IS NOT NULL))
            LIMIT :limit FOR UPDATE OF one SKIP LOCKED
        ))
        """,
        now=now, before=now - kept, limit=limit,
    )  # fmt: skip


async def waiting(connection: ReadConnection) -> int:
    return int(await fetch_value(connection, "SELECT count(*) FROM delivery WHERE ended_at IS NULL"))


async def forget(connection: WriteConnection, before: datetime, limit: int) -> int:
    """Deletes up to `limit` events from before, unless a delivery is still open; returns how many."""
    return await run(
        connection,
        """
        DELETE FROM event WHERE id = ANY(ARRAY(
            SELECT id FROM event WHERE created_at < :before AND NOT EXISTS (
                SELECT FROM delivery WHERE delivery.event = event.id AND delivery.ended_at IS NULL
            ) ORDER BY created_at LIMIT :limit
        ))
        """,
        before=before, limit=limit,
    )  # fmt: skip


class Adopted(msgspec.Struct, frozen=True):
    message_id: str
    kind: str
    body: str


async def take_old_alerts(connection: WriteConnection, limit: int) -> list[Adopted]:
    """Takes alerts that a replica of an earlier version wrote and has not delivered, oldest first."""
    return await fetch(
        connection,
        Adopted,
        """
        WITH gone AS (
            DELETE FROM webhook_delivery WHERE id = ANY(ARRAY(
                SELECT id FROM webhook_delivery WHERE outcome IS NULL ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
            )) RETURNING id, message_id, kind, body
        )
        SELECT message_id, kind, body FROM gone ORDER BY id
        """,
        limit=limit,
    )  # fmt: skip


async def forget_old_alerts(connection: WriteConnection, limit: int) -> int:
    """Deletes ended rows of the table before this one, of which nothing reads any more."""
    return await run(
        connection,
        """
        DELETE FROM webhook_delivery WHERE id = ANY(ARRAY(
            SELECT id FROM webhook_delivery WHERE outcome IS NOT NULL AND ended_at < now() - make_interval(days => 7)
            LIMIT :limit
        ))
        """,
        limit=limit,
    )  # fmt: skip
