"""Which environments count as production is said, not read off their keys."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE environment ADD COLUMN production boolean NOT NULL DEFAULT false")
    op.execute("UPDATE environment SET production = true WHERE key LIKE 'prod%'")  # what counted until now goes on to
