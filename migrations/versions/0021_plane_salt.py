"""A secret for each environment: it keys the digests that SDKs get in the place of plane kinds (ADR 0220)."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    # Two random UUIDs hold 244 random bits, without an extension. The default serves replicas of the version before.
    op.execute(
        """
        ALTER TABLE environment ADD COLUMN plane_salt bytea NOT NULL
        DEFAULT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')
        """
    )
