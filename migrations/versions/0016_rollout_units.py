"""A rollout's units, each once for the fleet. All of this is operational state: evidence is gathered anew."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

STATEMENTS = (
    "SET LOCAL lock_timeout = '3s'",
    "DROP TABLE rollout_bad_unit",
    "DROP TABLE rollout_sample",
    "TRUNCATE rollout_evidence",
    "DELETE FROM telemetry_rollup WHERE kind = 'arm'",
    "DELETE FROM telemetry_cursor",
    """
    CREATE TABLE rollout_sample (
        environment text NOT NULL,
        rule text NOT NULL,
        key text NOT NULL,
        level smallint NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (environment, rule, key)
    )
    """,
    """
    CREATE TABLE rollout_unit (
        environment text NOT NULL,
        rule text NOT NULL,
        key text NOT NULL,
        unit bigint NOT NULL,
        variant text NOT NULL,
        bad text[] NOT NULL,
        valued text[] NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (environment, rule, key, unit, variant)
    )
    """,
    "CREATE INDEX rollout_sample_at ON rollout_sample USING brin (at) WITH (autosummarize = on)",
    "CREATE INDEX rollout_unit_at ON rollout_unit USING brin (at) WITH (autosummarize = on)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
