"""What an SDK key is for: following the configuration, reporting, or both."""

from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(
        "ALTER TABLE sdk_key ADD COLUMN uses text[] NOT NULL DEFAULT '{evaluate,report}'"
        " CHECK (uses <@ ARRAY['evaluate', 'report'] AND cardinality(uses) > 0)"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE sdk_key DROP COLUMN uses")
