"""Alerts that wait for the webhook's receiver, so that a restart or an outage loses none (docs/operations.md)."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE webhook_delivery (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            message_id text NOT NULL UNIQUE,
            kind text NOT NULL,
            body text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            next_at timestamptz NOT NULL DEFAULT now(),
            attempts integer NOT NULL DEFAULT 0,
            outcome text CHECK (outcome IN ('delivered', 'given_up')),
            ended_at timestamptz
        )
        """
    )
    op.execute("CREATE INDEX webhook_delivery_waiting ON webhook_delivery (kind, id) WHERE outcome IS NULL")
    op.execute("CREATE INDEX webhook_delivery_ended ON webhook_delivery (ended_at) WHERE outcome IS NOT NULL")
