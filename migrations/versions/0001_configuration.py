"""Configuration: environments, their head state, and the append-only, hash-chained log (ADR 0020)."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE environment (
    key text PRIMARY KEY CHECK (key ~ '^[a-z0-9-]{1,40}$'),
    name text NOT NULL,
    epoch bigint NOT NULL CHECK (epoch > 0),
    revision bigint NOT NULL CHECK (revision >= 0),
    chain text NOT NULL,
    signing_kid text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE resource (
    environment text NOT NULL REFERENCES environment,
    kind text NOT NULL,
    key text NOT NULL,
    spec bytea NOT NULL,
    revision bigint NOT NULL,
    type text NOT NULL,
    tags text[] NOT NULL,
    search text NOT NULL,
    PRIMARY KEY (environment, kind, key)
);

CREATE TABLE reference (
    environment text NOT NULL,
    from_kind text NOT NULL,
    from_key text NOT NULL,
    to_kind text NOT NULL,
    to_key text NOT NULL,
    PRIMARY KEY (environment, from_kind, from_key, to_kind, to_key)
);
CREATE INDEX reference_to ON reference (environment, to_kind, to_key, from_kind, from_key);

CREATE TABLE revision (
    environment text NOT NULL REFERENCES environment,
    revision bigint NOT NULL,
    epoch bigint NOT NULL,
    previous_chain text NOT NULL,
    chain text NOT NULL,
    payload bytea NOT NULL,
    signature text NOT NULL,
    reset boolean NOT NULL,
    author text NOT NULL,
    message text NOT NULL,
    created_at timestamptz NOT NULL,
    effective text[] NOT NULL,
    changes integer NOT NULL CHECK (changes >= 0),
    seal text NOT NULL,
    PRIMARY KEY (environment, revision),
    UNIQUE (environment, previous_chain)
);
CREATE INDEX revision_author ON revision (environment, author, revision);
CREATE INDEX revision_created_at ON revision (environment, created_at);

CREATE TABLE change (
    environment text NOT NULL,
    revision bigint NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    before bytea,
    after bytea,
    PRIMARY KEY (environment, revision, kind, key),
    CHECK (before IS NOT NULL OR after IS NOT NULL)
);
CREATE INDEX change_resource ON change (environment, kind, key, revision);

CREATE TABLE idempotency (
    environment text NOT NULL REFERENCES environment,
    key text NOT NULL,
    body bytea NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (environment, key)
);
CREATE INDEX idempotency_created_at ON idempotency (environment, created_at);

CREATE TABLE signing_key (
    environment text NOT NULL REFERENCES environment DEFERRABLE INITIALLY DEFERRED,
    kid text NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    public bytea NOT NULL,
    sealed bytea NOT NULL,
    signed_by text NOT NULL,
    signature text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (environment, kid),
    UNIQUE (environment, position)
);
"""

APPEND_ONLY = """
CREATE FUNCTION refuse_rewriting_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'history is append-only: % of % refused', lower(TG_OP), TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON revision
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_history();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON change
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_history();
"""

CHAINED = """
CREATE FUNCTION require_next_revision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last revision%ROWTYPE;
BEGIN
    SELECT * INTO last FROM revision WHERE environment = NEW.environment ORDER BY revision DESC LIMIT 1;
    IF NEW.previous_chain <> coalesce(last.chain, '') THEN
        RAISE EXCEPTION 'revision % of % does not follow the head of the log', NEW.revision, NEW.environment
            USING ERRCODE = 'restrict_violation';
    END IF;
    -- A new epoch may jump ahead (fencing); within one, revisions are gapless.
    IF NOT (NEW.revision = coalesce(last.revision, 0) + 1 AND NEW.epoch >= coalesce(last.epoch, 0)
            OR NEW.revision > last.revision AND NEW.epoch > last.epoch) THEN
        RAISE EXCEPTION 'revision % (epoch %) of % is not the next one', NEW.revision, NEW.epoch, NEW.environment
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.chain <> left(encode(sha256(convert_to(NEW.previous_chain, 'UTF8') || NEW.payload), 'hex'), 32) THEN
        RAISE EXCEPTION 'the chain of revision % of % is not that of its payload', NEW.revision, NEW.environment
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER chained BEFORE INSERT ON revision
    FOR EACH ROW EXECUTE FUNCTION require_next_revision();

CREATE FUNCTION require_whole_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Changes arrive together with their revision, all of them: nothing is added to the past.
    IF EXISTS (
        SELECT FROM (SELECT DISTINCT environment, revision FROM added) a
        LEFT JOIN revision r USING (environment, revision)
        WHERE r.changes IS DISTINCT FROM
            (SELECT count(*) FROM change c WHERE c.environment = a.environment AND c.revision = a.revision)
    ) THEN
        RAISE EXCEPTION 'a change must be written with the revision that made it'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER whole AFTER INSERT ON change REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION require_whole_change();
"""


def upgrade() -> None:
    for part in (TABLES, APPEND_ONLY, CHAINED):
        for statement in _statements(part):
            op.execute(statement)


def _statements(script: str) -> list[str]:
    """asyncpg prepares one statement at a time; a blank line or a line that begins a statement ends the last."""
    found: list[str] = []
    for line in script.strip().splitlines():
        if line.startswith("CREATE "):
            found.append(line)
        else:
            found[-1] += "\n" + line
    return found
