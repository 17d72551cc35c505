"""Whose telemetry it is: counts, presence and a rollout's evidence by SDK key, what was refused, and series in use
(ADR 0075). Nothing has been released, and all of this is operational state: what has no key is counted anew."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE telemetry_cursor ADD COLUMN key text NOT NULL DEFAULT ''",
    "ALTER TABLE telemetry_cursor DROP CONSTRAINT telemetry_cursor_pkey",
    "ALTER TABLE telemetry_cursor ADD PRIMARY KEY (environment, key, instance, start)",
    "ALTER TABLE fleet_instance ADD COLUMN key text NOT NULL DEFAULT ''",
    "ALTER TABLE rollout_bad_unit ADD COLUMN key text NOT NULL DEFAULT ''",
    "ALTER TABLE rollout_bad_unit DROP CONSTRAINT rollout_bad_unit_pkey",
    "ALTER TABLE rollout_bad_unit ADD PRIMARY KEY (environment, rule, key, measure, unit)",
    """
    CREATE TABLE rollout_evidence (
        environment text NOT NULL,
        rule text NOT NULL,
        key text NOT NULL,
        instance text NOT NULL,
        arms bytea NOT NULL,
        units bigint NOT NULL,
        bad bigint NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (environment, rule, key, instance)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE telemetry_series (
        environment text NOT NULL,
        key text NOT NULL,
        day date NOT NULL,
        kind text NOT NULL,
        series bigint NOT NULL,
        PRIMARY KEY (environment, key, day, kind, series)
    )
    """,
    """
    CREATE TABLE telemetry_refused (
        environment text NOT NULL,
        key text NOT NULL,
        reason text NOT NULL,
        messages bigint NOT NULL,
        instance text NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (environment, key, reason)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
