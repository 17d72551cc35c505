"""What a rollout does next, and why. Pure: the engine and the API ask the same function."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from brownout.model.resources import Progress, Rollout
from controlplane.evidence.samples import THRESHOLD
from controlplane.rollouts import quorum
from controlplane.rollouts.evidence import Facts, Judged, judge, mismatch
from controlplane.rollouts.words import describe

Act = Literal["wait", "advance", "complete", "roll_back", "pause", "resume"]

PATIENCE_S = 600
"""`on_no_data` and `on_inconclusive`, unless they hold, act after the stage's time and at least so long."""


class Decision(msgspec.Struct, frozen=True):
    """`why` is one sentence for a person: the commit's message when something is done, else what is waited for."""

    act: Act
    why: str
    paused_by: Literal["safe_mode", "guardrail"] | None = None
    profile: str | None = None
    """Safe mode that the guardrail which fired asks for."""
    ready_at: datetime | None = None
    """When the stage's time is over, if that is what is waited for."""


def decide(
    rollout: Rollout, facts: Facts, judged: Sequence[Judged], safe_mode: Sequence[str], now: datetime
) -> Decision:
    """`judged` is `judge(rollout, facts)`; `safe_mode` names the profiles that touch the rollout's requests."""
    progress = rollout.progress
    if progress.state == "paused":
        if progress.paused_by != "safe_mode":
            return Decision("wait", progress.why or "paused")
        if safe_mode:
            return Decision("wait", _touched(safe_mode))
        return Decision("resume", "resumed: safe mode no longer touches its requests")
    if progress.state != "running":
        return Decision("wait", f"the rollout is {progress.state.replace('_', ' ')}")
    if safe_mode:
        return Decision("pause", "paused: " + _touched(safe_mode), paused_by="safe_mode")
    return _breach(rollout, facts, judged) or _go_on(rollout, facts, judged, now)


def elapsed_s(progress: Progress, now: datetime) -> float:
    """Seconds that the stage has run, without its pauses."""
    if progress.started_at is None:
        return 0.0
    muted = sum(((pause.until or now) - pause.since).total_seconds() for pause in progress.muted)
    return max(0.0, (now - progress.started_at).total_seconds() - muted)


def _breach(rollout: Rollout, facts: Facts, judged: Sequence[Judged]) -> Decision | None:
    doubted: Decision | None = None
    for guardrail, found in zip(rollout.guardrails, judged, strict=False):
        if found.verdict != "breached":
            continue
        why = describe(found)
        doubt = quorum.doubt(rollout, facts, guardrail, found, quorum.guardrail_alpha(rollout))
        if doubt:
            doubted = doubted or Decision("wait", f"held: {why}, but {doubt}")
        elif guardrail.action == "pause":
            return Decision("pause", f"paused: {why}", paused_by="guardrail", profile=guardrail.profile)
        else:
            return Decision("roll_back", f"rolled back: {why}", profile=guardrail.profile)
    return doubted


def _go_on(rollout: Rollout, facts: Facts, judged: Sequence[Judged], now: datetime) -> Decision:
    progress = rollout.progress
    stage = rollout.stages[progress.stage]
    ran = elapsed_s(progress, now)
    patient = ran < max(stage.min_duration_s, PATIENCE_S)
    evidence = mismatch(rollout, facts)
    if evidence >= THRESHOLD:
        return Decision(
            "wait",
            f"held: {facts.sampled_treatment} of {facts.sampled_treatment + facts.sampled_control} sampled units are in"
            f" the treatment where {stage.weight_bp / 100:g} % were promised; the comparison cannot be trusted",
        )
    if ran < stage.min_duration_s:
        left = timedelta(seconds=stage.min_duration_s - ran)
        return Decision("wait", f"the stage has {_span(left.total_seconds())} to run", ready_at=now + left)
    wanted = max(1, stage.min_units)
    if facts.treatment_units < wanted:
        why = f"{facts.treatment_units} of {wanted} units have been in the treatment"
        return _settle(rollout, rollout.on_no_data, why, patient=patient)
    hindrance = quorum.hindrance(rollout, facts, now, wanted)
    if hindrance:
        return _settle(rollout, rollout.on_no_data, hindrance, patient=patient)
    hidden = quorum.hidden_breach(rollout, facts)
    if hidden:
        return Decision("wait", f"held: {hidden}; a person has to decide")
    closed = [found for found in judged if found.role == "gate" and found.verdict != "proven"]
    if closed and stage.weight_bp < 10_000:
        return _settle(
            rollout, rollout.on_inconclusive, "not proven yet: " + "; ".join(map(describe, closed)), patient=patient
        )
    for gate, found in zip(rollout.gates, judged[len(rollout.guardrails) :], strict=True):
        doubt = quorum.doubt(rollout, facts, gate, found, rollout.alpha) if stage.weight_bp < 10_000 else ""
        if doubt:
            return _settle(rollout, rollout.on_inconclusive, f"{describe(found)}, but {doubt}", patient=patient)
    if stage.approval:
        return Decision("wait", "everything is in order; a person has to advance it")
    return _forward(rollout, "its time, units and gates are reached")


def _settle(rollout: Rollout, choice: str, why: str, *, patient: bool) -> Decision:
    if choice == "hold" or patient:
        return Decision("wait", why)
    if choice == "rollback":
        return Decision("roll_back", f"rolled back: {why}")
    return _forward(rollout, why)


def _forward(rollout: Rollout, why: str) -> Decision:
    index = rollout.progress.stage
    if index + 1 == len(rollout.stages):
        return Decision("complete", f"completed: {why}")
    return Decision("advance", f"stage {index + 2} of {len(rollout.stages)}: {why}")


def look(
    rollout: Rollout, facts: Facts, safe_mode: Sequence[str], now: datetime
) -> tuple[Decision, tuple[Judged, ...]]:
    judged = judge(rollout, facts)
    return decide(rollout, facts, judged, safe_mode, now), judged


def _touched(safe_mode: Sequence[str]) -> str:
    return f"safe mode {' and '.join(safe_mode)} touches its requests, so its evidence would mislead"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
