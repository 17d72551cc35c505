"""Telemetry: cursors and rollups, the fleet and its convergence, rollout units (ADR 0071)."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE telemetry_cursor (
        environment text NOT NULL,
        instance text NOT NULL,
        start bigint NOT NULL,
        sequence bigint NOT NULL,
        message bytea NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (environment, instance, start)
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX telemetry_cursor_updated_at ON telemetry_cursor USING brin (updated_at)",
    """
    CREATE TABLE telemetry_rollup (
        environment text NOT NULL,
        kind text NOT NULL,
        step_s integer NOT NULL,
        at timestamptz NOT NULL,
        series text NOT NULL,
        totals bytea NOT NULL,
        PRIMARY KEY (environment, kind, step_s, at, series)
    ) PARTITION BY RANGE (at)
    """,
    """
    CREATE TABLE fleet_instance (
        environment text NOT NULL,
        instance text NOT NULL,
        service text NOT NULL,
        sdk_version text NOT NULL,
        epoch bigint NOT NULL,
        revision bigint NOT NULL,
        state text NOT NULL,
        first_seen_at timestamptz NOT NULL,
        last_seen_at timestamptz NOT NULL,
        closed boolean NOT NULL,
        PRIMARY KEY (environment, instance)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE fleet_convergence (
        environment text NOT NULL,
        epoch bigint NOT NULL,
        revision bigint NOT NULL,
        published_at timestamptz NOT NULL,
        live integer NOT NULL,
        took_50_ms integer,
        took_95_ms integer,
        took_100_ms integer,
        PRIMARY KEY (environment, epoch, revision)
    )
    """,
    """
    CREATE TABLE rollout_bad_unit (
        environment text NOT NULL,
        rule text NOT NULL,
        measure smallint NOT NULL,
        unit bigint NOT NULL,
        variant text NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (environment, rule, measure, unit)
    )
    """,
    """
    CREATE TABLE rollout_sample (
        environment text NOT NULL,
        rule text NOT NULL,
        unit bigint NOT NULL,
        variant text NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (environment, rule, unit)
    )
    """,
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
