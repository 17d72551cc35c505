"""Access: people, roles, sessions, tokens, keys, approvals, break-glass, and the audit log (ADR 0060 to 0065)."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PEOPLE = (
    """
CREATE TABLE person (
    id text PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    name text NOT NULL,
    password text,
    issuer text,
    subject text,
    created_at timestamptz NOT NULL,
    disabled_at timestamptz,
    UNIQUE (issuer, subject)
)""",
    """
CREATE TABLE role_grant (
    person text NOT NULL REFERENCES person,
    environment text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'editor', 'operator', 'approver', 'admin')),
    source text NOT NULL CHECK (source IN ('local', 'sso')),
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (person, environment, role, source)
)""",
    """
CREATE TABLE one_time_link (
    digest text PRIMARY KEY,
    purpose text NOT NULL CHECK (purpose IN ('setup', 'invite', 'reset')),
    person text REFERENCES person,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
)""",
    """
CREATE TABLE session (
    id text PRIMARY KEY,
    digest text NOT NULL UNIQUE,
    person text NOT NULL REFERENCES person,
    method text NOT NULL CHECK (method IN ('password', 'sso', 'link')),
    address text NOT NULL,
    agent text NOT NULL,
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
)""",
    "CREATE INDEX session_person ON session (person)",
    """
CREATE TABLE known_device (
    digest text PRIMARY KEY,
    person text NOT NULL REFERENCES person,
    created_at timestamptz NOT NULL
)""",
)

CREDENTIALS = (
    """
CREATE TABLE api_token (
    id text PRIMARY KEY,
    digest text NOT NULL UNIQUE,
    hint text NOT NULL,
    name text NOT NULL,
    owner text REFERENCES person,
    made_by text NOT NULL,
    person text REFERENCES person,
    grants jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    used_at timestamptz,
    revoked_at timestamptz
)""",
    """
CREATE TABLE sdk_key (
    id text PRIMARY KEY,
    digest text NOT NULL UNIQUE,
    hint text NOT NULL,
    environment text NOT NULL REFERENCES environment,
    name text NOT NULL,
    made_by text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
)""",
    "CREATE INDEX sdk_key_environment ON sdk_key (environment)",
    "CREATE TABLE sdk_key_version (version bigint NOT NULL)",
    "INSERT INTO sdk_key_version VALUES (0)",
    """
CREATE FUNCTION tell_authd() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sdk_key_version SET version = version + 1;
    PERFORM pg_notify('brownout_sdk_key', '');
    RETURN NULL;
END $$""",
    """
CREATE TRIGGER tell_authd AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON sdk_key
    FOR EACH STATEMENT EXECUTE FUNCTION tell_authd()""",
)

SIGNING = (
    """
CREATE TABLE signing_rotation (
    environment text PRIMARY KEY REFERENCES environment,
    kid text NOT NULL,
    switch_at timestamptz NOT NULL,
    FOREIGN KEY (environment, kid) REFERENCES signing_key
)""",
)

APPROVALS = (
    """
CREATE TABLE environment_rule (
    environment text PRIMARY KEY REFERENCES environment,
    requires_approvals integer NOT NULL CHECK (requires_approvals BETWEEN 0 AND 10)
)""",
    """
CREATE TABLE proposal (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    environment text NOT NULL REFERENCES environment,
    operations bytea NOT NULL,
    message text NOT NULL,
    base_revision bigint NOT NULL,
    author text NOT NULL,
    author_principal text NOT NULL,
    edition integer NOT NULL DEFAULT 1,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'committed', 'withdrawn')),
    revision bigint,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK ((state = 'committed') = (revision IS NOT NULL))
)""",
    "CREATE INDEX proposal_environment ON proposal (environment, state, id)",
    """
CREATE TABLE proposal_editor (
    proposal bigint NOT NULL REFERENCES proposal,
    principal text NOT NULL,
    PRIMARY KEY (proposal, principal)
)""",
    """
CREATE TABLE proposal_approval (
    proposal bigint NOT NULL REFERENCES proposal,
    edition integer NOT NULL,
    principal text NOT NULL,
    approver text NOT NULL,
    note text NOT NULL,
    approved_at timestamptz NOT NULL,
    PRIMARY KEY (proposal, edition, principal)
)""",
    """
CREATE TABLE break_glass (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    environment text NOT NULL REFERENCES environment,
    principal text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    started_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    uses text[] NOT NULL DEFAULT '{}',
    reviewed_by text,
    reviewed_at timestamptz,
    review text,
    CHECK ((reviewed_by IS NULL) = (reviewed_at IS NULL))
)""",
    "CREATE INDEX break_glass_environment ON break_glass (environment, id)",
)

AUDIT = (
    """
CREATE TABLE audit (
    sequence bigint PRIMARY KEY,
    entry text NOT NULL,
    previous_chain text NOT NULL,
    chain text NOT NULL UNIQUE,
    at_ms bigint NOT NULL GENERATED ALWAYS AS (((entry::jsonb) ->> 'at_ms')::bigint) STORED,
    event text NOT NULL GENERATED ALWAYS AS ((entry::jsonb) ->> 'event') STORED,
    actor text NOT NULL GENERATED ALWAYS AS ((entry::jsonb) ->> 'actor') STORED,
    environment text NOT NULL GENERATED ALWAYS AS ((entry::jsonb) ->> 'environment') STORED
)""",
    "CREATE INDEX audit_actor ON audit (actor, sequence)",
    "CREATE INDEX audit_event ON audit (event, sequence)",
    "CREATE INDEX audit_environment ON audit (environment, sequence)",
    # The columns one filters by are derived from the entry that is chained: they cannot say anything else.
    """
CREATE FUNCTION chain_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last audit%ROWTYPE;
BEGIN
    PERFORM pg_advisory_xact_lock(x'61756469'::int);
    SELECT * INTO last FROM audit ORDER BY sequence DESC LIMIT 1;
    NEW.sequence := coalesce(last.sequence, 0) + 1;
    NEW.previous_chain := coalesce(last.chain, '');
    NEW.chain := left(encode(sha256(convert_to(NEW.previous_chain || NEW.entry, 'UTF8')), 'hex'), 32);
    RETURN NEW;
END $$""",
    "CREATE TRIGGER chained BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION chain_audit()",
    """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_history()""",
)


def upgrade() -> None:
    for statement in (*PEOPLE, *CREDENTIALS, *SIGNING, *APPROVALS, *AUDIT):
        op.execute(statement)
