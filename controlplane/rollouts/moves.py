"""A rollout's moves: from where it is to where it will be, and the one commit that takes it there. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec.structs import replace

from brownout.model.parse import encode
from brownout.model.resources import Flag, Muted, PausedBy, Progress, Rollout, SafeModeActivation, Scope
from brownout.wire import Operation
from controlplane.contract.activations import extended, find_same
from controlplane.contract.effects import listed
from controlplane.contract.rollout_rules import behind, expected, finished, obstacle, owner, with_rules
from controlplane.errors import ConflictError

Move = Literal["start", "restart", "pause", "resume", "advance", "complete", "finish", "roll_back", "abort"]

ALLOWED: dict[Move, frozenset[str]] = {
    "start": frozenset({"draft", "rolled_back", "aborted"}),
    "restart": frozenset({"completed", "finished"}),
    "pause": frozenset({"running"}),
    "resume": frozenset({"paused"}),
    "advance": frozenset({"running", "paused"}),
    "complete": frozenset({"running", "paused"}),
    "finish": frozenset({"completed"}),
    "roll_back": frozenset({"running", "paused", "completed"}),
    "abort": frozenset({"draft", "running", "paused"}),
}
"""From which states each move can be made."""

EDITABLE = frozenset({"draft", "finished", "rolled_back", "aborted"})
"""States in which it serves nobody by itself, so its definition can be replaced, or deleted."""

SAFE_MODE_S = 3600
"""How long safe mode stays on when a guardrail switches it on; a person extends or lifts it."""

MAX_MUTED = 50


def move(rollout: Rollout, step: Move, why: str, now: datetime, *, paused_by: PausedBy | None = None) -> Rollout:
    """The rollout after `step`.

    Raises:
        ConflictError: it is in no state to make it.
    """
    progress = rollout.progress
    if step == "start" and progress.state in ALLOWED["restart"]:
        raise ConflictError(_restarts(rollout))
    if progress.state not in ALLOWED[step]:
        way = ": what it served is the flag's own now, so change the flag" if progress.state == "finished" else ""
        raise ConflictError(
            f"cannot {step.replace('_', ' ')} a rollout that is {progress.state.replace('_', ' ')}{way}"
        )
    last = progress.stage + 1 >= len(rollout.stages)
    if step == "advance" and last:
        step = "complete"
    why = why[:2_000]
    match step:
        case "start" | "restart":
            after = Progress("running", run=progress.run + 1, stage=0, started_at=now, why=why)
        case "advance":
            after = Progress("running", run=progress.run, stage=progress.stage + 1, started_at=now, why=why)
        case "pause":
            muted = (*progress.muted, Muted(now))[-MAX_MUTED:]
            after = replace(progress, state="paused", paused_by=paused_by or "person", muted=muted, why=why)
        case "resume":
            muted = tuple(pause if pause.until else replace(pause, until=now) for pause in progress.muted)
            after = replace(progress, state="running", paused_by=None, muted=muted, why=why)
        case "complete":
            after = replace(progress, state="completed", paused_by=None, why=why)
        case "finish":
            after = replace(progress, state="finished", why=why)
        case "roll_back":
            after = replace(progress, state="rolled_back", paused_by=None, why=why)
        case "abort":
            after = replace(progress, state="aborted", paused_by=None, why=why)
    return replace(rollout, progress=after)


def drafted(rollout: Rollout, run: int) -> Rollout:
    """A new definition of a rollout that ran `run` times: evidence of those runs stays theirs."""
    return replace(rollout, progress=Progress(run=run))


def operations(key: str, rollout: Rollout, flag: Flag) -> list[Operation]:
    """Puts the rollout, and the flag when it has to change with it.

    A rollout that completes and is set to finish automatically finishes in the same commit, unless rules stand behind
    it: those would begin to serve, which a person has to decide.
    """
    progress = rollout.progress
    if progress.state in {"completed", "finished"}:
        changed = with_rules(flag, key, expected(replace(rollout, progress=replace(progress, state="completed")), key))
        if progress.state == "finished" or (rollout.finish == "automatic" and not behind(changed, key)):
            rollout = replace(rollout, progress=replace(progress, state="finished"))
            changed = finished(changed, key)
    else:
        changed = with_rules(flag, key, expected(rollout, key))
    ops = [put("rollout", key, encode(rollout))]
    if changed != flag:
        ops.append(put("flag", rollout.flag, encode(changed)))
    return ops


def refuse_unreachable(key: str, rollout: Rollout, flag: Flag) -> None:
    """Raises ConflictError when the rollout, about to start, has a stage that would serve no one."""
    found = obstacle(flag, key, rollout)
    if found is None:
        return
    stage, rule = found
    why = f"stage {stage + 1} would serve no one: the rule {rule.id} of the flag {rollout.flag} already catches everyone in it"
    other = owner(rule)
    way = (
        f"Finish that rollout first: `brownout rollout finish {other}`, once it is completed"
        if other is not None
        else f"Delete that rule, or change who it catches: `brownout flag put {rollout.flag}`, or its page in the console"
    )
    raise ConflictError(f"{why}. Nothing was saved. {way}")


def refuse_hidden(key: str, flag: Flag) -> None:
    """Raises ConflictError when finishing would wake rules that the rollout's own keeps from serving."""
    if ids := behind(flag, key):
        raise ConflictError(
            f"finishing takes the rollout's rule away, and then {listed(ids)} behind it would begin to serve. Nothing was "
            "saved. Delete what is not wanted there, or move it before the rollout's rule, and finish again"
        )


def _restarts(rollout: Rollout) -> str:
    """Why a completed rollout does not simply start."""
    first = rollout.stages[0]
    share = f"{first.weight_bp / 100:g} % of {first.cohort or 'everyone'}"
    return (
        f"it is {rollout.progress.state}, and starting again would take {rollout.treatment} away: only {share} would keep "
        f"it, the others would get {rollout.control}. Nothing was changed. `brownout rollout restart` does it all the same"
    )


def activation(
    key: str,
    rollout: Rollout,
    profile: str,
    request_classes: Sequence[str],
    *,
    why: str,
    now: datetime,
    present: Iterable[tuple[str, SafeModeActivation]] = (),
) -> Operation:
    """Safe mode for the rollout's request classes, as its guardrail asks; extends the one that is on for them already."""
    spec = SafeModeActivation(
        profile=profile,
        reason=why[:2_000],
        actor=f"rollout:{key}",
        activated_at=now,
        expires_at=now + timedelta(seconds=SAFE_MODE_S),
        scope=Scope(request_classes=tuple(request_classes)),
    )
    if (same := find_same(present, spec)) is not None:
        return put("safe_mode_activation", same[0], encode(extended(same[1], spec)))
    return put("safe_mode_activation", f"rollout-{key}-{rollout.progress.run}"[:100], encode(spec))


def put(kind: str, key: str, spec: bytes) -> Operation:
    return Operation("put", kind, key, msgspec.Raw(spec))
