"""The two statements of a commit: load what it could break, and write it. One round trip each (ADR 0021)."""

from sqlalchemy import ARRAY, BigInteger, Boolean, DateTime, Integer, LargeBinary, Text, bindparam, text

from controlplane.configuration.store.values import NOTIFY_CHANNEL
from controlplane.kit.database import Prepared

_TEXTS = ARRAY(Text)
_BLOBS = ARRAY(LargeBinary)

LOCK = text("SELECT FROM environment WHERE key = :environment FOR UPDATE")


def _typed(sql: str, **types: object) -> Prepared:
    return Prepared(text(sql).bindparams(*(bindparam(name, type_=kind) for name, kind in types.items())))  # type: ignore[arg-type]


LOAD = _typed(
    """
WITH touched AS (
    SELECT * FROM unnest(:kinds, :keys, :looked_into) AS t(kind, key, looked_into)
), affected AS (
    SELECT kind, key FROM touched
    UNION
    SELECT d.* FROM touched t CROSS JOIN LATERAL (
        SELECT from_kind, from_key FROM reference
        WHERE t.looked_into AND environment = :environment AND to_kind = t.kind AND to_key = t.key OFFSET 0
    ) d
    UNION
    SELECT d.* FROM touched t CROSS JOIN LATERAL (
        SELECT from_kind, from_key FROM reference
        WHERE environment = :environment AND to_kind = t.kind AND to_key = t.key ORDER BY 1, 2 LIMIT :told
    ) d
), needed AS (
    SELECT kind, key FROM affected
    UNION
    SELECT * FROM unnest(:named_kinds, :named_keys)
    UNION
    SELECT d.* FROM affected a CROSS JOIN LATERAL (
        SELECT to_kind, to_key FROM reference
        WHERE environment = :environment AND from_kind = a.kind AND from_key = a.key OFFSET 0
    ) d
)
SELECT e.epoch, e.revision, e.chain, e.signing_kid, e.plane_salt, i.body, i.revision AS answered, r.kind, r.key, r.spec,
       r.revision AS changed
FROM environment e
LEFT JOIN idempotency i ON i.environment = e.key AND i.key = :idempotency_key AND i.created_at > :horizon
LEFT JOIN (needed n CROSS JOIN LATERAL (
    SELECT kind, key, spec, revision FROM resource
    WHERE environment = :environment AND kind = n.kind AND key = n.key OFFSET 0
) r) ON true
WHERE e.key = :environment
""",
    environment=Text,
    kinds=_TEXTS,
    keys=_TEXTS,
    looked_into=ARRAY(Boolean),
    told=Integer,
    named_kinds=_TEXTS,
    named_keys=_TEXTS,
    idempotency_key=Text,
    horizon=DateTime(timezone=True),
)
"""The head, the idempotency key's earlier answer, and the resources that a change to `kinds`/`keys` touches:
themselves, what names them, and what all these (and the new specs: `named_*`) name. A row each.

Of those that name a resource all are loaded where it is `looked_into`, else the first `told`. LATERAL with OFFSET 0
makes every look an index probe: joined freely, the planner takes thousands of dependants for likely and scans the
whole environment, for every commit."""

WRITE = _typed(
    f"""
WITH head AS (
    UPDATE environment SET epoch = :epoch, revision = :revision, chain = :chain
    WHERE key = :environment AND epoch = :seen_epoch AND revision = :seen_revision AND signing_kid = :kid
    RETURNING key
), logged AS (
    INSERT INTO revision (environment, revision, epoch, previous_chain, chain, payload, signature, reset, author,
                          message, created_at, effective, changes, seal)
    SELECT key, :revision, :epoch, :previous_chain, :chain, :payload, :signature, :reset, :author,
           :message, :at, :effective, :changes, :seal
    FROM head
    RETURNING environment, revision
), changed AS (
    INSERT INTO change (environment, revision, kind, key, before, after)
    SELECT environment, revision, c.*
    FROM logged, unnest(:kinds, :keys, :befores, :afters) AS c(kind, key, before, after)
), put AS (
    INSERT INTO resource (environment, revision, kind, key, spec, type, tags, search)
    SELECT environment, revision, p.kind, p.key, p.spec, p.type, string_to_array(p.tags, E'\\n'), p.search
    FROM logged, unnest(:kinds, :keys, :afters, :types, :tags, :searches) AS p(kind, key, spec, type, tags, search)
    WHERE p.spec IS NOT NULL
    ON CONFLICT (environment, kind, key) DO UPDATE
    SET spec = excluded.spec, revision = excluded.revision, type = excluded.type, tags = excluded.tags,
        search = excluded.search
), deleted AS (
    DELETE FROM resource WHERE ctid = ANY(ARRAY(
        SELECT r.place FROM logged CROSS JOIN unnest(:gone_kinds, :gone_keys) AS g(kind, key) CROSS JOIN LATERAL (
            SELECT ctid AS place FROM resource
            WHERE environment = :environment AND kind = g.kind AND key = g.key OFFSET 0
        ) r
    ))
), named AS (
    SELECT * FROM unnest(:from_kinds, :from_keys, :to_kinds, :to_keys) AS n(from_kind, from_key, to_kind, to_key)
), unlinked AS (
    DELETE FROM reference WHERE ctid = ANY(ARRAY(
        SELECT r.place FROM logged CROSS JOIN unnest(:kinds, :keys) AS t(kind, key) CROSS JOIN LATERAL (
            SELECT ctid AS place, from_kind, from_key, to_kind, to_key FROM reference
            WHERE environment = :environment AND from_kind = t.kind AND from_key = t.key OFFSET 0
        ) r
        WHERE (r.from_kind, r.from_key, r.to_kind, r.to_key) NOT IN (SELECT * FROM named)
    ))
), linked AS (
    INSERT INTO reference (environment, from_kind, from_key, to_kind, to_key)
    SELECT l.environment, n.* FROM logged l, named n
    ON CONFLICT DO NOTHING
), forgotten AS (
    DELETE FROM idempotency i
    USING logged l
    WHERE i.environment = l.environment AND i.created_at <= :horizon AND i.key IS DISTINCT FROM :idempotency_key
), remembered AS (
    INSERT INTO idempotency (environment, key, body, revision, created_at)
    SELECT environment, :idempotency_key, :body, revision, :at FROM logged WHERE :idempotency_key IS NOT NULL
    ON CONFLICT (environment, key) DO UPDATE
    SET body = excluded.body, revision = excluded.revision, created_at = excluded.created_at
)
SELECT revision, pg_notify('{NOTIFY_CHANNEL}', environment || ' ' || revision) FROM logged
""",  # noqa: S608 - the only thing put in is a constant of ours
    environment=Text,
    epoch=BigInteger,
    revision=BigInteger,
    chain=Text,
    seen_epoch=BigInteger,
    seen_revision=BigInteger,
    kid=Text,
    previous_chain=Text,
    payload=LargeBinary,
    signature=Text,
    reset=Boolean,
    author=Text,
    message=Text,
    at=DateTime(timezone=True),
    effective=_TEXTS,
    changes=Integer,
    seal=Text,
    kinds=_TEXTS,
    keys=_TEXTS,
    befores=_BLOBS,
    afters=_BLOBS,
    types=_TEXTS,
    tags=_TEXTS,
    searches=_TEXTS,
    gone_kinds=_TEXTS,
    gone_keys=_TEXTS,
    from_kinds=_TEXTS,
    from_keys=_TEXTS,
    to_kinds=_TEXTS,
    to_keys=_TEXTS,
    idempotency_key=Text,
    body=LargeBinary,
    horizon=DateTime(timezone=True),
)
"""Everything a commit writes, if the head is still the one that was seen; otherwise nothing, and no row comes back.
`tags` are lines. An array parameter has one element a change, `from_*`/`to_*` one a reference of the new specs.
Rows to delete are found by index probes, as in LOAD, and named by ctid: if the head is the one seen, nobody moved them."""
