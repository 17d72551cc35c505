"""One or more lines for each change, the most telling first; never none."""

from collections.abc import Mapping, Sequence

from brownout.model.resources import ResourceRef, Rollout, SafeModeActivation
from controlplane.configuration.store.effective import cohorts, flags
from controlplane.configuration.store.effective.sides import Side
from controlplane.configuration.store.effective.words import changed_fields, kind_word, listed, moment
from controlplane.configuration.store.fields import field_changes
from controlplane.configuration.store.values import Change

MAX_DESCRIBED = 50
"""An import changes thousands: the first few are described, the others counted."""


def effective(present: Mapping[ResourceRef, bytes], changes: Sequence[Change]) -> tuple[str, ...]:
    """Lines for what `changes` do. `present` is what was there before, as `draft.settle` takes it."""
    if not changes:
        return ("nothing changes",)
    after = dict(present)
    for change in changes:
        if change.after is None:
            del after[change.ref]
        else:
            after[change.ref] = change.after
    sides = Side(present), Side(after)
    ordered = sorted(changes, key=lambda change: (_ORDER.get(change.kind, len(_ORDER)), change.key))
    lines = [line for change in ordered[:MAX_DESCRIBED] for line in _lines(change, *sides)]
    if len(ordered) > MAX_DESCRIBED:
        lines.append(f"and {len(ordered) - MAX_DESCRIBED:,} more resources change")
    return tuple(dict.fromkeys(lines))


_ORDER = {kind: place for place, kind in enumerate(("safe_mode_activation", "request_class", "flag", "cohort"))}


def _lines(change: Change, before: Side, after: Side) -> list[str]:
    if before.unreadable(change.ref):
        became = "gone" if change.after is None else "replaced"
        return [f"{kind_word(change.kind)} {change.key}: {became}, this version could not read it"]
    match change.kind:
        case "flag":
            return flags.lines(change, before, after)
        case "cohort":
            return cohorts.lines(change, before, after)
        case "safe_mode_activation":
            return [_activation(change, before, after)]
        case "rollout":
            return [_rollout(change, before, after)]
        case _:
            return [_other(change)]


def _other(change: Change) -> str:
    name = f"{kind_word(change.kind)} {change.key}"
    if change.before is None:
        return f"{name}: new"
    if change.after is None:
        return f"{name}: gone"
    return f"{name}: {changed_fields(field_changes(change))}"


def _activation(change: Change, before: Side, after: Side) -> str:
    old, new = before.activation(change.key), after.activation(change.key)
    if new is None:
        assert old is not None
        return f"safe mode {old.profile} is lifted for {_scope(old)}"
    if old is None:
        return f"safe mode {new.profile} is on for {_scope(new)} until {moment(new.expires_at)}: {new.reason}"
    if old.expires_at != new.expires_at:
        return f"safe mode {new.profile} for {_scope(new)}: until {moment(old.expires_at)} → {moment(new.expires_at)}"
    return f"safe mode {new.profile}: {changed_fields(field_changes(change))}"


def _rollout(change: Change, before: Side, after: Side) -> str:
    old, new = before.rollout(change.key), after.rollout(change.key)
    name = f"rollout {change.key}"
    if new is None:
        return f"{name}: gone"
    if old is None:
        return f"{name}: new, {_where(new)}"
    if old.progress == new.progress:
        return f"{name}: {changed_fields(field_changes(change))}"
    return f"{name}: {_where(old)} → {_where(new)}"


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
