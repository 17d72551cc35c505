"""Which instances people were told lag, so that one replica tells them, once (docs/fleet.md)."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE fleet_instance ADD COLUMN lag_told_at timestamptz")
