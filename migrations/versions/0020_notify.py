"""Teams, channels and subscriptions; events, their deliveries and who acknowledged them (ADR 0210)."""

from alembic import op

revision = "0020"
down_revision = "0018"
branch_labels = None
depends_on = None

TABLES = (
    """
CREATE TABLE team (
    key text PRIMARY KEY,
    name text NOT NULL,
    contact text NOT NULL DEFAULT '',
    created_by text NOT NULL,
    created_at timestamptz NOT NULL
)""",
    """
CREATE TABLE channel (
    key text PRIMARY KEY,
    team text REFERENCES team,
    kind text NOT NULL,
    target text NOT NULL DEFAULT '',
    sealed bytea,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    paused_at timestamptz,
    paused_by text NOT NULL DEFAULT '',
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    last_failed bigint,
    last_error text NOT NULL DEFAULT '',
    retry_at timestamptz,
    announced_at timestamptz,
    delivered_at timestamptz,
    next_test_at timestamptz NOT NULL
)""",
    """
CREATE TABLE subscription (
    key text PRIMARY KEY,
    team text REFERENCES team,
    channels text[] NOT NULL,
    kinds text[] NOT NULL,
    environments text[] NOT NULL,
    severity smallint NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL
)""",
    """
CREATE TABLE event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL UNIQUE,
    kind text NOT NULL,
    environment text NOT NULL,
    severity smallint NOT NULL,
    dedupe text NOT NULL,
    data text NOT NULL,
    created_at timestamptz NOT NULL
)""",
    "CREATE INDEX event_created ON event (created_at)",
    """
CREATE TABLE delivery (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event bigint NOT NULL REFERENCES event ON DELETE CASCADE,
    channel text NOT NULL REFERENCES channel ON DELETE CASCADE,
    then_to text[] NOT NULL,
    dedupe text NOT NULL,
    kind text NOT NULL,
    severity smallint NOT NULL,
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'waiting', 'delivered', 'failed', 'skipped')),
    attempts integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    next_at timestamptz NOT NULL,
    ended_at timestamptz
)""",
    "CREATE INDEX delivery_line ON delivery (channel, dedupe, id) WHERE ended_at IS NULL",
    "CREATE INDEX delivery_kind ON delivery (channel, kind, id) WHERE ended_at IS NULL",
    "CREATE INDEX delivery_open ON delivery (next_at, id) WHERE ended_at IS NULL",
    "CREATE INDEX delivery_page ON delivery (next_at, id) WHERE ended_at IS NULL AND severity >= 30",
    "CREATE INDEX delivery_event ON delivery (event)",
    "CREATE INDEX delivery_channel ON delivery (channel, event)",
    """
CREATE TABLE ack (
    event bigint PRIMARY KEY REFERENCES event ON DELETE CASCADE,
    by text NOT NULL,
    via text NOT NULL,
    at timestamptz NOT NULL
)""",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
