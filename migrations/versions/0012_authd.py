"""Which authd answer NATS's auth callout, so that the health of the whole shows when none does (docs/operations.md)."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE UNLOGGED TABLE authd (id text PRIMARY KEY, seen_at timestamptz NOT NULL, responding boolean NOT NULL)"
    )
