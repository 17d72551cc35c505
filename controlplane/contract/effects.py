"""What a change of some kinds does, in a line, from the spec before and after. Pure."""

from collections.abc import Sequence
from datetime import datetime

from brownout.model.resources import Rollout, SafeModeActivation


def activation(_key: str, old: SafeModeActivation | None, new: SafeModeActivation | None) -> str:
    """Empty when only fields changed that the line would not name."""
    if new is None:
        assert old is not None
        return f"safe mode {old.profile} is lifted for {_scope(old)}"
    if old is None:
        return f"safe mode {new.profile} is on for {_scope(new)} until {_moment(new.expires_at)}: {new.reason}"
    if old.expires_at != new.expires_at:
        return f"safe mode {new.profile} for {_scope(new)}: until {_moment(old.expires_at)} → {_moment(new.expires_at)}"
    return ""


def rollout(key: str, old: Rollout | None, new: Rollout | None) -> str:
    """Empty when only fields changed that the line would not name."""
    if new is None:
        return f"rollout {key}: gone"
    if old is None:
        return f"rollout {key}: new, {_where(new)}"
    if old.progress == new.progress:
        return ""
    return f"rollout {key}: {_where(old)} → {_where(new)}"


def _where(rollout: Rollout) -> str:
    """`running, stage 2 of 4 (25% opus)`; a draft is at no stage yet."""
    state, stage = rollout.progress.state.replace("_", " "), rollout.progress.stage
    if state not in {"running", "paused"} or stage >= len(rollout.stages):
        return state
    share = f"{rollout.stages[stage].weight_bp / 100:g}% {rollout.treatment}"
    return f"{state}, stage {stage + 1} of {len(rollout.stages)} ({share})"


def _scope(activation: SafeModeActivation) -> str:
    scope = activation.scope
    parts = [
        f"{word} {listed(names)}"
        for word, names in (
            ("service", scope.services),
            ("request class", scope.request_classes),
            ("cohort", scope.cohorts),
            ("provider", scope.providers),
        )
        if names
    ]
    return ", ".join(parts) or "everything"


NAMES_SHOWN = 3


def listed(names: Sequence[str], shown: int = NAMES_SHOWN) -> str:
    """`a`, `a and b`, `a, b and c`, `a, b, c and 4 more`."""
    if len(names) > shown:
        return f"{', '.join(names[:shown])} and {len(names) - shown} more"
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part) if names else "nothing"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
