"""Second factors, proofs, what tokens may do without one, and who may come from where (ADR 0067 to 0069)."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SESSIONS = (
    "ALTER TABLE person ADD COLUMN second_factor_due timestamptz",
    "ALTER TABLE session ADD COLUMN stage text NOT NULL DEFAULT 'full' CHECK (stage IN ('full', 'factor'))",
    "ALTER TABLE session ADD COLUMN proven_at timestamptz NOT NULL DEFAULT now()",
    "UPDATE session SET proven_at = created_at",
    "ALTER TABLE session DROP CONSTRAINT session_method_check",
    """
ALTER TABLE session ADD CONSTRAINT session_method_check
    CHECK (method IN ('password', 'sso', 'link', 'passkey'))""",
    "ALTER TABLE api_token ADD COLUMN sensitive boolean NOT NULL DEFAULT false",
    "ALTER TABLE api_token ADD COLUMN proven_at timestamptz",
    "ALTER TABLE api_token ADD COLUMN networks text[] NOT NULL DEFAULT '{}'",
    # Machines go on doing what they were made for.
    "UPDATE api_token SET sensitive = true WHERE owner IS NULL",
)

FACTORS = (
    """
CREATE TABLE totp (
    person text PRIMARY KEY REFERENCES person,
    sealed bytea NOT NULL,
    last_step bigint NOT NULL DEFAULT -1,
    created_at timestamptz NOT NULL,
    confirmed_at timestamptz
)""",
    """
CREATE TABLE recovery_code (
    digest text PRIMARY KEY,
    person text NOT NULL REFERENCES person,
    created_at timestamptz NOT NULL,
    used_at timestamptz
)""",
    "CREATE INDEX recovery_code_person ON recovery_code (person)",
    """
CREATE TABLE passkey (
    id text PRIMARY KEY,
    person text NOT NULL REFERENCES person,
    name text NOT NULL,
    credential_id bytea NOT NULL UNIQUE,
    credential bytea NOT NULL,
    sign_count bigint NOT NULL,
    created_at timestamptz NOT NULL,
    used_at timestamptz
)""",
    "CREATE INDEX passkey_person ON passkey (person)",
    """
CREATE TABLE used_challenge (
    digest text PRIMARY KEY,
    expires_at timestamptz NOT NULL
)""",
)

ADDRESSES = (
    """
CREATE TABLE address_rule (
    environment text NOT NULL,
    role text NOT NULL CHECK (role IN ('*', 'viewer', 'editor', 'operator', 'approver', 'admin')),
    networks text[] NOT NULL CHECK (cardinality(networks) > 0),
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (environment, role)
)""",
)


def upgrade() -> None:
    for statement in (*SESSIONS, *FACTORS, *ADDRESSES):
        op.execute(statement)
