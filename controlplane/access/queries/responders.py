"""Who answers NATS's auth callout: each authd says every second that it does."""

from sqlalchemy import text

from controlplane.kit.database import ReadConnection

SILENT_S = 3


async def responders(connection: ReadConnection) -> tuple[int, int]:
    """How many have ever been heard of, and how many of them answer now."""
    rows = await connection.execute(
        text(
            "SELECT count(*), count(*) FILTER (WHERE responding"
            " AND seen_at > clock_timestamp() - make_interval(secs => :silent)) FROM authd"
        ),
        {"silent": SILENT_S},
    )
    known, live = rows.one()
    return int(known), int(live)
