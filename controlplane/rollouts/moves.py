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
from controlplane.errors import ConflictError
from controlplane.rollouts.rules import expected, with_rules

Move = Literal["start", "pause", "resume", "advance", "complete", "roll_back", "abort"]

ALLOWED: dict[Move, frozenset[str]] = {
    "start": frozenset({"draft", "completed", "rolled_back", "aborted"}),
    "pause": frozenset({"running"}),
    "resume": frozenset({"paused"}),
    "advance": frozenset({"running", "paused"}),
    "complete": frozenset({"running", "paused"}),
    "roll_back": frozenset({"running", "paused", "completed"}),
    "abort": frozenset({"draft", "running", "paused"}),
}
"""From which states each move can be made."""

SAFE_MODE_S = 3600
"""How long safe mode stays on when a guardrail switches it on; a person extends or lifts it."""

MAX_MUTED = 50


def move(rollout: Rollout, step: Move, why: str, now: datetime, *, paused_by: PausedBy | None = None) -> Rollout:
    """The rollout after `step`.

    Raises:
        ConflictError: it is in no state to make it.
    """
    progress = rollout.progress
    if progress.state not in ALLOWED[step]:
        raise ConflictError(f"cannot {step.replace('_', ' ')} a rollout that is {progress.state.replace('_', ' ')}")
    last = progress.stage + 1 >= len(rollout.stages)
    if step == "advance" and last:
        step = "complete"
    why = why[:2_000]
    match step:
        case "start":
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
        case "roll_back":
            after = replace(progress, state="rolled_back", paused_by=None, why=why)
        case "abort":
            after = replace(progress, state="aborted", paused_by=None, why=why)
    return replace(rollout, progress=after)


def drafted(rollout: Rollout, run: int) -> Rollout:
    """A new definition of a rollout that ran `run` times: evidence of those runs stays theirs."""
    return replace(rollout, progress=Progress(run=run))


def operations(key: str, rollout: Rollout, flag: Flag) -> list[Operation]:
    """Puts the rollout, and the flag when its rules have to change with it."""
    ops = [put("rollout", key, encode(rollout))]
    changed = with_rules(flag, key, expected(rollout, key))
    if changed != flag:
        ops.append(put("flag", rollout.flag, encode(changed)))
    return ops


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
