"""When each variant of a flag was first and last served (ADR 0073)."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE flag_use (
            environment text NOT NULL,
            flag text NOT NULL,
            variant text NOT NULL,
            first_at timestamptz NOT NULL,
            last_at timestamptz NOT NULL,
            PRIMARY KEY (environment, flag, variant)
        ) WITH (fillfactor = 70)
        """
    )
    op.execute("CREATE INDEX flag_use_first_at ON flag_use (environment, first_at)")
