"""Teams and subscriptions, and what has been told."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from controlplane.kit.database import ReadConnection, WriteConnection
from controlplane.kit.rows import fetch, fetch_one, fetch_value, run
from controlplane.notify.kinds import Severity
from controlplane.notify.values import Delivery, Event, Subscription, Team


async def list_teams(connection: ReadConnection) -> list[Team]:
    return await fetch(connection, Team, "SELECT key, name, contact, created_by, created_at FROM team ORDER BY key")


async def put_team(connection: WriteConnection, team: Team) -> None:
    await run(
        connection,
        """
        INSERT INTO team (key, name, contact, created_by, created_at) VALUES (:key, :name, :contact, :by, :now)
        ON CONFLICT (key) DO UPDATE SET name = :name, contact = :contact
        """,
        key=team.key, name=team.name, contact=team.contact, by=team.created_by, now=team.created_at,
    )  # fmt: skip


async def has_team(connection: ReadConnection, key: str) -> bool:
    return bool(await fetch_value(connection, "SELECT EXISTS (SELECT FROM team WHERE key = :key)", key=key))


async def team_uses(connection: ReadConnection, key: str) -> int:
    """Channels and subscriptions of a team."""
    sql = "SELECT (SELECT count(*) FROM channel WHERE team = :key) + (SELECT count(*) FROM subscription WHERE team = :key)"
    return int(await fetch_value(connection, sql, key=key))


async def delete_team(connection: WriteConnection, key: str) -> int:
    return await run(connection, "DELETE FROM team WHERE key = :key", key=key)


async def list_subscriptions(connection: ReadConnection) -> list[Subscription]:
    return await fetch(
        connection,
        Subscription,
        """
        SELECT key, team, channels, kinds, environments, severity, created_by, created_at FROM subscription ORDER BY key
        """,
    )


async def put_subscription(connection: WriteConnection, one: Subscription) -> None:
    await run(
        connection,
        """
        INSERT INTO subscription (key, team, channels, kinds, environments, severity, created_by, created_at)
        VALUES (:key, :team, CAST(:channels AS text[]), CAST(:kinds AS text[]), CAST(:environments AS text[]), :severity,
                :by, :now)
        ON CONFLICT (key) DO UPDATE SET team = excluded.team, channels = excluded.channels, kinds = excluded.kinds,
            environments = excluded.environments, severity = excluded.severity
        """,
        key=one.key, team=one.team, channels=list(one.channels), kinds=list(one.kinds),
        environments=list(one.environments), severity=one.severity, by=one.created_by, now=one.created_at,
    )  # fmt: skip


async def has_subscription(connection: ReadConnection, key: str) -> bool:
    return bool(await fetch_value(connection, "SELECT EXISTS (SELECT FROM subscription WHERE key = :key)", key=key))


async def delete_subscription(connection: WriteConnection, key: str) -> int:
    return await run(connection, "DELETE FROM subscription WHERE key = :key", key=key)


async def using(connection: ReadConnection, channel: str) -> list[Subscription]:
    return [each for each in await list_subscriptions(connection) if channel in each.channels]


class EventRow(msgspec.Struct, frozen=True):
    id: int
    message_id: str
    kind: str
    environment: str
    severity: int
    dedupe: str
    data: str
    created_at: datetime
    by: str | None
    at: datetime | None
    via: str | None


_EVENT = """
    SELECT event.id, event.message_id, event.kind, event.environment, event.severity, event.dedupe, event.data,
           event.created_at, ack.by, ack.at, ack.via
    FROM event LEFT JOIN ack ON ack.event = event.id
"""


async def list_events(
    connection: ReadConnection,
    *,
    before: int,
    limit: int,
    environments: Sequence[str] | None,
    kinds: Sequence[str] | None,
    hidden: Sequence[str],
    unacknowledged: bool,
) -> list[Event]:
    """Newest first. `environments` None: all; what belongs to none has the key ''. `hidden` kinds are left out."""
    found = await fetch(
        connection,
        EventRow,
        f"""{_EVENT}
        WHERE event.id < :before
          AND (CAST(:environments AS text[]) IS NULL OR event.environment = ANY(CAST(:environments AS text[])))
          AND (CAST(:kinds AS text[]) IS NULL OR event.kind = ANY(CAST(:kinds AS text[])))
          AND NOT event.kind = ANY(CAST(:hidden AS text[]))
          AND (NOT :unacknowledged OR (ack.event IS NULL AND event.severity >= {int(Severity.PAGE)}))
        ORDER BY event.id DESC LIMIT :limit
        """,
        before=before, limit=limit, environments=None if environments is None else list(environments),
        kinds=None if kinds is None else list(kinds), hidden=list(hidden), unacknowledged=unacknowledged,
    )  # fmt: skip
    return [_event(row) for row in found]


async def find_event(connection: ReadConnection, event: int) -> Event | None:
    row = await fetch_one(connection, EventRow, f"{_EVENT} WHERE event.id = :id", id=event)
    return None if row is None else _event(row)


async def find_by_message(connection: ReadConnection, message_id: str) -> Event | None:
    row = await fetch_one(connection, EventRow, f"{_EVENT} WHERE event.message_id = :id", id=message_id)
    return None if row is None else _event(row)


def _event(row: EventRow) -> Event:
    return Event(
        row.id, row.message_id, row.kind, row.environment, row.severity, row.dedupe, read_data(row.data),
        row.created_at, row.by, row.at, row.via,
    )  # fmt: skip


def read_data(text: str) -> dict[str, str]:
    """The fields; of what another version wrote, as text whatever can be read."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


async def list_deliveries(connection: ReadConnection, events: Sequence[int]) -> list[Delivery]:
    return await fetch(
        connection,
        Delivery,
        """
        SELECT delivery.id, event, channel, channel.kind AS channel_kind, state, attempts, error, delivery.created_at,
               next_at, ended_at
        FROM delivery JOIN channel ON channel.key = delivery.channel
        WHERE event = ANY(CAST(:events AS bigint[])) ORDER BY delivery.id
        """,
        events=list(events),
    )  # fmt: skip


async def list_told(connection: ReadConnection, kind: str, limit: int) -> list[Event]:
    """What channels of this kind have taken, newest first."""
    found = await fetch(
        connection,
        EventRow,
        f"""{_EVENT}
        WHERE event.id IN (
            SELECT delivery.event FROM delivery JOIN channel ON channel.key = delivery.channel
            WHERE channel.kind = :kind AND delivery.state = 'delivered'
        ) ORDER BY event.id DESC LIMIT :limit
        """,  # noqa: S608 - put together from constants
        kind=kind, limit=limit,
    )  # fmt: skip
    return [_event(row) for row in found]


async def acknowledge(connection: WriteConnection, event: int, by: str, via: str, now: datetime) -> bool:
    """Whether this was the first."""
    sql = "INSERT INTO ack (event, by, via, at) VALUES (:event, :by, :via, :now) ON CONFLICT (event) DO NOTHING"
    return await run(connection, sql, event=event, by=by, via=via, now=now) > 0


async def told_channels(connection: ReadConnection, event: int) -> list[str]:
    """The channels that an event went to."""
    found = await list_deliveries(connection, [event])
    return sorted({each.channel for each in found})


async def stop_waiting(connection: WriteConnection, event: int, now: datetime) -> int:
    """Ends the deliveries of an event that someone has: no one else needs to be woken."""
    return await run(
        connection,
        """
        UPDATE delivery SET state = 'skipped', ended_at = :now, error = 'acknowledged' WHERE id = ANY(ARRAY(
            SELECT id FROM delivery WHERE event = :event AND ended_at IS NULL FOR UPDATE SKIP LOCKED
        ))
        """,
        event=event, now=now,
    )  # fmt: skip
