"""Who vouches for a stage's evidence: how many instances, under which SDK keys, and were they there? Pure (ADR 0075).

Whoever holds an SDK key can report anything, under as many instance names as they like. So evidence acts only when enough
instances show the same, when no single key decides while several report, and, to go forward, when the instances were
present while the stage ran.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from brownout.model.measures import scale
from brownout.model.resources import Gate, Guardrail, Rollout
from brownout.wire.telemetry import ArmTotals
from controlplane.rollouts.evidence import Facts, exposure, judge_one
from controlplane.rollouts.values import Judged
from controlplane.rollouts.words import measure_words
from controlplane.telemetry.readings import Witness

MOST_NEEDED = 3
"""Instances; fewer when fewer are live."""

LATE = timedelta(seconds=120)
"""Presence that only says that an instance is still there is written every minute: the end of one may be this late."""

GAP, GAP_SHARE = timedelta(minutes=2), 0.1
"""For how long nobody needs to have been present: a deployment takes a while, but at most this share of the stage."""

REMEMBERED = timedelta(days=1)
"""Presence is kept for two days: of a longer stage its last day counts."""


def needed(facts: Facts) -> int:
    """Instances that have to show the same."""
    return max(1, min(MOST_NEEDED, facts.live))


def doubt(rollout: Rollout, facts: Facts, rule: Guardrail | Gate, found: Judged, alpha: float) -> str:
    """Why a verdict is not enough to act on; empty when it is. `alpha` is what it was judged by."""
    seen = sum(_shows(rule, witness, rollout) for witness in facts.witnesses)
    if seen < needed(facts):
        return _instances(seen, needed(facts))
    for key in facts.keys if len(facts.keys) > 1 else ():
        if judge_one(rule, without(facts, key), math.sqrt(alpha)).verdict != found.verdict:
            return f"it rests on the SDK key {key} alone; other keys do not show it"
    return ""


def hindrance(rollout: Rollout, facts: Facts, now: datetime, wanted: int) -> str:
    """Why the stage's units are not enough to go forward; empty when they are."""
    start = max(rollout.progress.started_at or now, now - REMEMBERED)
    present = [one for one in facts.witnesses if _units(one, rollout.treatment) and _was_present(one, start)]
    if len(present) < needed(facts):
        return f"{_instances(len(present), needed(facts))} that were present while they reported"
    units = _vouched(rollout.treatment, facts, present)
    if units < wanted:
        return f"{units} of {wanted} units come from instances that were present"
    if len(facts.keys) > 1 and len({one.key for one in present}) < 2:
        return f"only instances with the SDK key {present[0].key} vouch for the units, though others report, too"
    if not _covered([(one.seen_from, one.seen_until) for one in present], start, now):
        return "no reporting instance was present throughout the stage"
    return ""


def hidden_breach(rollout: Rollout, facts: Facts) -> str:
    """A guardrail that breaches once one key's evidence is left out: that key must not hide it. Empty when there is none."""
    for key in facts.keys if len(facts.keys) > 1 else ():
        for rule in rollout.guardrails:
            if judge_one(rule, without(facts, key), guardrail_alpha(rollout)).verdict == "breached":
                return f"{measure_words(rule.measure)} is worse than allowed without the SDK key {key}"
    return ""


def guardrail_alpha(rollout: Rollout) -> float:
    return rollout.alpha / max(1, len(rollout.guardrails))


def without(facts: Facts, key: str) -> Facts:
    """As if nobody had reported with `key`."""
    minutes = [replace(minute, by_key={k: v for k, v in minute.by_key.items() if k != key}) for minute in facts.minutes]
    return replace(facts, minutes=tuple(minute.summed() for minute in minutes))


def _instances(seen: int, wanted: int) -> str:
    return f"evidence from {seen} of {wanted} instance{'s' if wanted > 1 else ''} needed"


def _units(witness: Witness, variant: str) -> int:
    totals = witness.arms.get(variant)
    return totals.units if totals else 0


def _vouched(variant: str, facts: Facts, present: Sequence[Witness]) -> int:
    """Distinct treatment units of `present` instances. A unit may wander between instances, so what they saw cannot be
    added up: of the fleet's units they have their share of what all instances saw."""
    everything = sum(_units(one, variant) for one in facts.witnesses)
    return facts.treatment_units * sum(_units(one, variant) for one in present) // everything if everything else 0


def _shows(rule: Guardrail | Gate, witness: Witness, rollout: Rollout) -> bool:
    """Whether what this instance saw itself points where the verdict does."""
    treatment = witness.arms.get(rollout.treatment, ArmTotals())
    control = witness.arms.get(rollout.control, ArmTotals())
    worse = _worse(rule, treatment, control)
    return worse is not None and worse is isinstance(rule, Guardrail)


def _worse(rule: Guardrail | Gate, treatment: ArmTotals, control: ArmTotals) -> bool | None:
    """Whether the treatment looks worse than allowed; None when the instance has nothing to say."""
    measure, compared = rule.measure, scale(rule.measure)
    if compared == "share":
        n, bad = exposure(treatment, measure), treatment.bad.get(measure, 0)
        if not n:
            return None
        if isinstance(rule, Guardrail) and rule.max_rate is not None:
            return bad > rule.max_rate * n
        among = exposure(control, measure)
        return bad * among > rule.no_worse_than * control.bad.get(measure, 0) * n if among else bad > 0
    if not treatment.mean_n.get(measure) or not control.mean_n.get(measure):
        return None
    means = [arm.mean_total.get(measure, 0.0) / arm.mean_n[measure] for arm in (treatment, control)]
    difference = means[0] - means[1]
    return difference < -rule.max_drop if compared == "mean" else difference > math.log(rule.no_worse_than)


def _was_present(witness: Witness, start: datetime) -> bool:
    """While it reported, as far back as presence is remembered."""
    if witness.seen_from is None or witness.seen_until is None:
        return False
    return witness.seen_from <= max(witness.first_at, start) + LATE and witness.seen_until >= witness.last_at - LATE


def _covered(spans: Iterable[tuple[datetime | None, datetime | None]], start: datetime, now: datetime) -> bool:
    """Whether from `start` to `now` somebody was always there, but for gaps that a deployment leaves."""
    late = min(GAP, (now - start) * GAP_SHARE)
    gap = late
    reached = start
    known: Sequence[tuple[datetime, datetime]] = sorted((a, b) for a, b in spans if a is not None and b is not None)
    for since, until in known:
        if since - reached > gap:
            return False
        reached, gap = max(reached, until), late + LATE
    return now - reached <= late + LATE
