"""The table of what each instance has shown of a rollout's rule."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text

from controlplane.kit.database import ReadConnection, WriteConnection


class EvidenceRow(NamedTuple):
    """What one instance has shown of one rule; `arms` is encoded."""

    rule: str
    key: str
    instance: str
    arms: bytes
    units: int
    bad: int


EVIDENCE_S = 60
"""An instance's evidence is written again this seldom, and whenever its units have quadrupled or its bad units doubled."""


async def put_evidence(
    connection: WriteConnection, environment: str, rows: Sequence[EvidenceRow], now: datetime
) -> None:
    await connection.execute(
        text(
            "INSERT INTO rollout_evidence AS old (environment, rule, key, instance, arms, units, bad, first_at, last_at)"
            " SELECT :environment, r, k, i, a, u, b, :now, :now FROM unnest(CAST(:rule AS text[]),"
            " CAST(:key AS text[]), CAST(:instance AS text[]), CAST(:arms AS bytea[]), CAST(:units AS bigint[]),"
            " CAST(:bad AS bigint[])) AS new(r, k, i, a, u, b)"
            " ON CONFLICT (environment, rule, key, instance) DO UPDATE SET arms = excluded.arms, units = excluded.units,"
            " bad = excluded.bad, last_at = excluded.last_at"
            " WHERE old.last_at <= excluded.last_at - make_interval(secs => :rewrite)"
            " OR excluded.units >= 4 * old.units OR (excluded.bad > old.bad AND excluded.bad >= 2 * old.bad)"
        ),
        {
            "environment": environment,
            "now": now,
            "rewrite": EVIDENCE_S,
            **{field: [getattr(row, field) for row in rows] for field in EvidenceRow._fields},
        },
    )


class WitnessRow(NamedTuple):
    """An instance's evidence, and since and until when it was present: None when it never was."""

    key: str
    instance: str
    arms: bytes
    first_at: datetime
    last_at: datetime
    seen_from: datetime | None
    seen_until: datetime | None


async def witnesses(connection: ReadConnection, environment: str, rule: str) -> list[WitnessRow]:
    """Of a stage. Presence is of the same instance under the same SDK key."""
    rows = await connection.execute(
        text(
            "SELECT e.key, e.instance, e.arms, e.first_at, e.last_at, f.first_seen_at, f.last_seen_at"
            " FROM rollout_evidence e LEFT JOIN fleet_instance f USING (environment, key, instance)"
            " WHERE environment = :environment AND rule = :rule"
        ),
        {"environment": environment, "rule": rule},
    )
    return [WitnessRow(*row) for row in rows]
