"""What a flag does now, in a line: what each cohort that its rules name is served, and whether it looks stale. Pure.

A reading of the rules, not an evaluation: a cohort has many members, and only one context can be evaluated.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from controlplane.telemetry.flag_use import STALE_AFTER, Stale
from controlplane.telemetry.series import COARSE_S
from controlplane.web.kit.words import ago, basis_points

STALE = {
    "never": "never evaluated",
    "unused": f"not evaluated for {STALE_AFTER.days} d",
    "one_variant": f"one variant for {STALE_AFTER.days} d",
}


class LineClause(msgspec.Struct):
    op: str
    values: tuple[Any, ...] = ()
    negate: bool = False


class LineRule(msgspec.Struct):
    """What a line needs of a rule."""

    serve: Any
    clauses: tuple[LineClause, ...] = msgspec.field(name="if", default=())

    @property
    def cohorts(self) -> tuple[str, ...]:
        return tuple(
            str(key)
            for clause in self.clauses
            if clause.op == "in_cohort" and not clause.negate
            for key in clause.values
        )


class CohortServe(msgspec.Struct, frozen=True):
    cohort: str
    serves: str
    partly: bool
    """The rule has further conditions: not every member gets this."""


def cohort_serves(rules: Sequence[LineRule]) -> tuple[CohortServe, ...]:
    """Each cohort by the first rule that names it."""
    found: dict[str, CohortServe] = {}
    for rule in rules:
        for cohort in rule.cohorts:
            found.setdefault(cohort, CohortServe(cohort, serve_words(rule.serve), len(rule.clauses) > 1))
    return tuple(found.values())


def serve_words(serve: Any) -> str:
    """big; small 95 % · big 5 %."""
    if isinstance(serve, str):
        return serve
    shares = serve.get("split", ()) if isinstance(serve, dict) else ()
    return " · ".join(f"{share['variant']} {basis_points(share['weight_bp'])}" for share in shares if _is_share(share))


def _is_share(share: Any) -> bool:
    """A newer version may split in a way that this one has no words for."""
    return isinstance(share, dict) and isinstance(share.get("weight_bp"), int) and "variant" in share


def evaluated_words(last_at: datetime | None, now: datetime) -> str:
    """As exact as it is kept: to a quarter of an hour."""
    if last_at is None:
        return ""
    return "within 15 min" if (now - last_at).total_seconds() < COARSE_S else ago(last_at, now)


def stale_words(stale: Stale | None) -> str:
    return STALE[stale] if stale else ""
