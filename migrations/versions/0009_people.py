"""Who had a hand in whose account; what service tokens hang on; when single sign-on last confirmed somebody (ADR 0093)."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ACCOUNTS = (
    # One order for changes of accounts, proposals and broken glass, whatever the clocks of replicas say.
    "CREATE SEQUENCE access_order",
    """
CREATE TABLE account_change (
    id bigint PRIMARY KEY DEFAULT nextval('access_order'),
    person text NOT NULL REFERENCES person,
    kind text NOT NULL CHECK (kind IN ('account', 'link', 'password', 'factor', 'identity', 'enabled', 'role')),
    environment text NOT NULL DEFAULT '',
    role text NOT NULL DEFAULT '',
    principal text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    ended bigint
)""",
    "CREATE INDEX account_change_person ON account_change (person)",
    "CREATE INDEX account_change_at ON account_change (at)",
    """
INSERT INTO account_change (person, kind, principal, actor, at)
SELECT l.person, CASE l.purpose WHEN 'invite' THEN 'account' ELSE 'link' END,
       coalesce('person:' || p.id, 'token:' || l.created_by), l.created_by, l.created_at
FROM one_time_link l LEFT JOIN person p ON p.email = l.created_by
WHERE l.person IS NOT NULL ORDER BY l.created_at""",
    """
INSERT INTO account_change (person, kind, environment, role, principal, actor, at)
SELECT g.person, 'role', g.environment, g.role,
       CASE g.source WHEN 'sso' THEN 'system:sso' ELSE coalesce('person:' || p.id, 'token:' || g.granted_by) END,
       g.granted_by, g.granted_at
FROM role_grant g LEFT JOIN person p ON p.email = g.granted_by
WHERE g.role IN ('approver', 'admin') AND g.granted_by <> 'setup' ORDER BY g.granted_at""",
    "ALTER TABLE proposal ADD COLUMN opened bigint NOT NULL DEFAULT nextval('access_order')",
    "ALTER TABLE break_glass ADD COLUMN opened bigint NOT NULL DEFAULT nextval('access_order')",
)

TOKENS = (
    "ALTER TABLE api_token ADD COLUMN parent text REFERENCES api_token, ADD COLUMN handed_by text",
    "CREATE INDEX api_token_parent ON api_token (parent)",
)

SSO = (
    """
CREATE TABLE sso_identity (
    person text PRIMARY KEY REFERENCES person,
    sealed bytea,
    confirmed_at timestamptz,
    checked_at timestamptz NOT NULL
)""",
)


def upgrade() -> None:
    for statement in (*ACCOUNTS, *TOKENS, *SSO):
        op.execute(statement)
