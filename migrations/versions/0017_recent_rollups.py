"""Requests by ten seconds, for detection and backtests: partitions of a day that are dropped after eight."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(
        """
        CREATE TABLE telemetry_recent (
            environment text NOT NULL,
            kind text NOT NULL,
            step_s integer NOT NULL,
            at timestamptz NOT NULL,
            series text NOT NULL,
            totals bytea NOT NULL,
            PRIMARY KEY (environment, kind, step_s, at, series)
        ) PARTITION BY RANGE (at)
        """
    )
