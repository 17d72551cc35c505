"""Pattern states, ranks and prices, from configuration and what was measured. Pure."""

from collections.abc import Iterable, Mapping

from brownout.model.operating import IMPACT
from brownout.wire.telemetry import RungTotals
from controlplane.coverage.values import (
    ClassPatterns,
    ClassRank,
    CoverageSummary,
    ModeRank,
    PatternState,
    PatternView,
    TierPrice,
)
from controlplane.resilience.cell import Cell, Requirement
from controlplane.resilience.patterns import configured, required
from controlplane.resilience.world import World
from controlplane.telemetry.class_outcomes import ClassOutcomes, is_primary

EXERCISED_REQUESTS = 30
"""Requests that a pattern must have served to count as exercised."""

NONE = ClassOutcomes()


def summary(cells: Iterable[Cell]) -> CoverageSummary:
    counts = dict.fromkeys(("answered", "nothing", "raw", "silent", "too_many", "accepted"), 0)
    for cell in cells:
        if cell.state != "not_possible":
            counts["accepted" if cell.accepted else cell.state] += 1
    return CoverageSummary(possible=sum(counts.values()), **counts)


def class_patterns(world: World, key: str, seen: ClassOutcomes) -> ClassPatterns:
    """The five patterns of a class, and another provider where its tier asks for one."""
    tier = world.tier_of(key)
    asked: list[Requirement] = required(tier.requires) if tier else []
    have = configured(world, key)
    shown: list[Requirement] = [name for name in have if name != "other_provider" or name in asked]
    return ClassPatterns(
        key,
        world.classes[key].tier or "",
        tier.enforce if tier else "",
        [_pattern(name, seen, there=have[name], required=name in asked) for name in shown],
    )


def _pattern(name: Requirement, seen: ClassOutcomes, *, there: bool, required: bool) -> PatternView:
    if name == "safe_mode":
        now, ever = seen.in_safe_mode_since, seen.in_safe_mode
    else:
        now, ever = (_served(name, rungs) for rungs in (seen.rungs_since, seen.rungs))
    state: PatternState = "configured"
    if not there:
        state = "missing"
    elif now >= EXERCISED_REQUESTS:
        state = "exercised"
    elif ever >= EXERCISED_REQUESTS:
        state = "stale"
    return PatternView(name, state, now, ever, required)


def _served(name: Requirement, rungs: Mapping[str, RungTotals]) -> int:
    return sum(rung.served for label, rung in rungs.items() if _serves(name, label))


def _serves(name: Requirement, label: str) -> bool:
    if is_primary(label):
        return False
    type_ = label.partition(":")[0]
    match name:
        case "cached_responses":
            return type_ == "cache"
        case "secondary_model" | "other_provider":
            return type_ == "model"
        case "human_review":
            return type_ == "human_review"
    return True  # degraded UI: every answer that is not the policy's own model's carries the notice


def ranks(world: World, seen: Mapping[str, ClassOutcomes]) -> list[ModeRank]:
    """The worst mode first."""
    found = []
    for name, mode in world.modes.items():
        parts = []
        for key, spec in world.classes.items():
            if mode.classes and key not in mode.classes:
                continue
            outcomes = seen.get(key, NONE)
            hit = sum(outcomes.failed.get(error, 0) for error in mode.detect.errors)
            impact = mode.impact.get(spec.criticality, IMPACT[spec.criticality])
            completion = degraded_completion(outcomes)
            parts.append(ClassRank(key, impact, hit, completion, round(impact * hit * (1 - (completion or 0.0)), 2)))
        parts.sort(key=lambda part: (-part.score, part.request_class))
        found.append(
            ModeRank(name, round(sum(part.score for part in parts), 2), sum(part.hit for part in parts), parts)
        )
    return sorted(found, key=lambda rank: (-rank.score, rank.mode))


def degraded_completion(seen: ClassOutcomes) -> float | None:
    """The share of degraded requests whose users got what they came for; None where none is known."""
    degraded = list(seen.degraded.values())
    known = sum(rung.known for rung in degraded)
    return round(sum(rung.completed for rung in degraded) / known, 6) if known else None


def prices(world: World, seen: Mapping[str, ClassOutcomes]) -> list[TierPrice]:
    """The classes of each tier together, rounded to the cent once."""
    by_tier: dict[str, list[str]] = {key: [] for key in world.tiers}
    for key, spec in world.classes.items():
        by_tier.setdefault(spec.tier or "", []).append(key)
    found = []
    for name, classes in by_tier.items():
        outcomes = [seen[key] for key in classes if key in seen]
        saved = sum(each.saved for each in outcomes)
        cost, fallback = (_sum(getattr(each, field) for each in outcomes) for field in ("cost", "fallback_cost"))
        found.append(
            TierPrice(
                name, world.tiers[name].rank if name in world.tiers else None, sorted(classes),
                sum(each.requests for each in outcomes), saved, cost, fallback,
                round(fallback / saved, 4) if fallback is not None and saved else None,
            )
        )  # fmt: skip
    return sorted(found, key=lambda price: (price.rank is None, price.rank or 0, price.tier == "", price.tier))


def _sum(costs: Iterable[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return round(sum(known), 2) if known else None
