"""What is too old is found by an index: the tables that grow with traffic, not with the fleet (ADR 0142)."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

INDEXES = {
    "rollout_bad_unit": "at",
    "rollout_sample": "at",
    "telemetry_series": "day",
    "fleet_convergence": "published_at",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table, column in INDEXES.items():
        op.execute(f"CREATE INDEX {table}_{column} ON {table} USING brin ({column}) WITH (autosummarize = on)")


def downgrade() -> None:
    for table, column in INDEXES.items():
        op.execute(f"DROP INDEX {table}_{column}")
