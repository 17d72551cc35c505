"""What a stage has shown so far: per measure, for and against the treatment. Pure."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from brownout.model.measures import EVENT, scale
from brownout.model.resources import Gate, Guardrail, Rollout
from brownout.wire.telemetry import ArmTotals
from controlplane.evidence import means, samples
from controlplane.evidence.ceilings import CeilingTest
from controlplane.evidence.means import Difference, Moments
from controlplane.evidence.shares import ShareTest, Window
from controlplane.rollouts.values import Judged
from controlplane.telemetry.readings import Witness


class Minute(msgspec.Struct, frozen=True):
    """What both arms counted in one minute, each unit once."""

    at: datetime
    treatment: ArmTotals
    control: ArmTotals
    by_key: Mapping[str, tuple[ArmTotals, ArmTotals]] = {}
    """What each SDK key's instances reported of it: (treatment, control)."""

    def summed(self) -> "Minute":
        """With both arms as `by_key` has them."""
        treatment, control = ArmTotals(), ArmTotals()
        for of_treatment, of_control in self.by_key.values():
            treatment, control = treatment.plus(of_treatment), control.plus(of_control)
        return Minute(self.at, treatment, control, self.by_key)


class Facts(msgspec.Struct, frozen=True):
    """A stage's observations: minutes that count, distinct units of the fleet, and who vouches for them."""

    minutes: tuple[Minute, ...] = ()
    treatment_units: int = 0
    control_units: int = 0
    sampled_treatment: int = 0
    sampled_control: int = 0
    """Of the units that are followed, before they were scaled to all."""
    witnesses: tuple[Witness, ...] = ()
    live: int = 0
    """Instances of the environment."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The SDK keys with which anything was reported."""
        return tuple(sorted({key for minute in self.minutes for key in minute.by_key}))


def judge(rollout: Rollout, facts: Facts) -> tuple[Judged, ...]:
    """Every guardrail, then every gate. Guardrails share alpha among them; gates must all open, so each has it whole."""
    alpha = rollout.alpha
    split = alpha / max(1, len(rollout.guardrails))
    return tuple(
        [judge_one(guardrail, facts, split) for guardrail in rollout.guardrails]
        + [judge_one(gate, facts, alpha) for gate in rollout.gates]
    )


def mismatch(rollout: Rollout, facts: Facts) -> float:
    """Evidence that the stage's units are not split as its weight says."""
    promised = rollout.stages[rollout.progress.stage].weight_bp / 10_000
    return samples.mismatch_evidence(facts.sampled_treatment, facts.sampled_control, promised)


def judge_one(rule: Guardrail | Gate, facts: Facts, alpha: float) -> Judged:
    """One rule, so that it errs with probability `alpha` at most, over all looks."""
    if isinstance(rule, Guardrail) and rule.max_rate is not None:
        return _judge_ceiling(rule, rule.max_rate, facts, alpha)
    if scale(rule.measure) == "share":
        return _judge_share(rule, facts, alpha)
    return _judge_mean(rule, facts, alpha)


def _judge_share(rule: Guardrail | Gate, facts: Facts, alpha: float) -> Judged:
    measure = rule.measure
    is_gate = isinstance(rule, Gate)
    test = ShareTest(rule.no_worse_than, against="worse" if is_gate else "no_worse")
    over_time = []
    seen = [0, 0, 0, 0]
    for minute in facts.minutes:
        bad = minute.treatment.bad.get(measure, 0), minute.control.bad.get(measure, 0)
        counts = (*(exposure(arm, measure) for arm in (minute.treatment, minute.control)), *bad)
        seen = [a + b for a, b in zip(seen, counts, strict=True)]
        over_time.append(test.add(Window(*_without_the_bad(seen, bad) if of_units(measure) else counts)))
    threshold = 1.0 / alpha
    crossed = max(over_time, default=0.0) >= threshold
    return Judged(
        measure=rule.measure,
        role="gate" if is_gate else "guardrail",
        verdict="open" if not crossed else "proven" if is_gate else "breached",
        limit=rule.no_worse_than,
        treatment=seen[2] / seen[0] if seen[0] else None,
        control=seen[3] / seen[1] if seen[1] else None,
        treatment_n=seen[0],
        control_n=seen[1],
        evidence=test.evidence,
        threshold=threshold,
        times=tuple(minute.at for minute in facts.minutes),
        evidence_over_time=tuple(over_time),
    )


def of_units(measure: str) -> bool:
    """Whether a measure is of units that were exposed, not of requests: an event may come long after the exposure."""
    return measure.startswith(EVENT)


def exposure(arm: ArmTotals, measure: str) -> int:
    """Of how many units or requests the bad ones of `measure` are a share."""
    return arm.units if of_units(measure) else arm.at_risk.get(measure, 0)


def _without_the_bad(seen: Sequence[int], bad: tuple[int, int]) -> tuple[int, int, int, int]:
    """The window of a log-rank test: units exposed so far for which the event had not come before this minute."""
    treatment, control, treatment_bad, control_bad = seen
    at_risk = treatment - treatment_bad + bad[0], control - control_bad + bad[1]
    return max(0, at_risk[0]), max(0, at_risk[1]), *bad


def _judge_ceiling(rule: Guardrail, ceiling: float, facts: Facts, alpha: float) -> Judged:
    test = CeilingTest(ceiling)
    counts = [(exposure(minute.treatment, rule.measure), minute.treatment.bad.get(rule.measure, 0))
              for minute in facts.minutes]  # fmt: skip
    over_time = [test.add(*pair) for pair in counts]
    at_risk, bad = sum(n for n, _ in counts), sum(n for _, n in counts)
    return Judged(
        measure=rule.measure,
        role="guardrail",
        verdict="breached" if max(over_time, default=0.0) >= 1.0 / alpha else "open",
        limit=ceiling,
        treatment=bad / at_risk if at_risk else None,
        control=None,
        treatment_n=at_risk,
        control_n=0,
        evidence=test.evidence,
        threshold=1.0 / alpha,
        times=tuple(minute.at for minute in facts.minutes),
        evidence_over_time=tuple(over_time),
        ceiling=True,
    )


def _judge_mean(rule: Guardrail | Gate, facts: Facts, alpha: float) -> Judged:
    measure = rule.measure
    lower_is_worse = scale(measure) == "mean"
    limit = -rule.max_drop if lower_is_worse else math.log(rule.no_worse_than)
    treatment, control = Moments(), Moments()
    bounds: list[Difference | None] = []
    for minute in facts.minutes:
        treatment, control = _add(treatment, minute.treatment, measure), _add(control, minute.control, measure)
        bounds.append(means.difference(treatment, control, alpha))
    is_gate = isinstance(rule, Gate)
    crossed = any(found and _decides(found, limit, lower_is_worse=lower_is_worse, is_gate=is_gate) for found in bounds)
    last = bounds[-1] if bounds else None
    return Judged(
        measure=measure,
        role="gate" if is_gate else "guardrail",
        verdict="open" if not crossed else "proven" if is_gate else "breached",
        limit=limit,
        treatment=treatment.mean if treatment.n else None,
        control=control.mean if control.n else None,
        treatment_n=treatment.n,
        control_n=control.n,
        lower=last.lower if last else None,
        upper=last.upper if last else None,
        times=tuple(minute.at for minute in facts.minutes),
        lower_over_time=tuple(found.lower if found else None for found in bounds),
        upper_over_time=tuple(found.upper if found else None for found in bounds),
    )


def _decides(found: Difference, limit: float, *, lower_is_worse: bool, is_gate: bool) -> bool:
    """A guardrail asks whether all of the interval is beyond the limit, a gate whether none of it is."""
    if lower_is_worse:
        return found.lower > limit if is_gate else found.upper < limit
    return found.upper < limit if is_gate else found.lower > limit


def _add(moments: Moments, arm: ArmTotals, measure: str) -> Moments:
    return Moments(
        moments.n + arm.mean_n.get(measure, 0),
        moments.total + arm.mean_total.get(measure, 0.0),
        moments.squares + arm.mean_squares.get(measure, 0.0),
    )
