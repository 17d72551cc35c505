"""When SDK keys were last used. Beside `sdk_key`, whose every change makes each authd read all keys again."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE sdk_key_use (
            key text PRIMARY KEY REFERENCES sdk_key,
            used_at timestamptz NOT NULL
        ) WITH (fillfactor = 70)
        """
    )
