"""The schema level that each instance reads; 1 is version 0.2.0."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("ALTER TABLE fleet_instance ADD COLUMN schema_level smallint NOT NULL DEFAULT 1")
