"""One or more lines for each change, the most telling first; never none."""

from collections.abc import Mapping, Sequence

from brownout.model.resources import ResourceRef
from controlplane.configuration.store.effective import cohorts, flags
from controlplane.configuration.store.effective.sides import Side
from controlplane.configuration.store.effective.words import changed_fields, kind_word
from controlplane.configuration.store.fields import field_changes
from controlplane.configuration.store.values import Change
from controlplane.contract.kinds import row

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
    ordered = sorted(changes, key=lambda change: (row(change.kind).order, change.key))
    lines = [line for change in ordered[:MAX_DESCRIBED] for line in _lines(change, *sides)]
    if len(ordered) > MAX_DESCRIBED:
        lines.append(f"and {len(ordered) - MAX_DESCRIBED:,} more resources change")
    return tuple(dict.fromkeys(lines))


def _lines(change: Change, before: Side, after: Side) -> list[str]:
    if before.unreadable(change.ref):
        became = "gone" if change.after is None else "replaced"
        return [f"{kind_word(change.kind)} {change.key}: {became}, this version could not read it"]
    if after.unreadable(change.ref):
        return [f"{kind_word(change.kind)} {change.key}: put by a newer version, this one cannot read it"]
    if (evaluated := _EVALUATED.get(change.kind)) is not None:
        return evaluated(change, before, after)
    describe = row(change.kind).describe
    said = describe(change.key, before.find(change.ref), after.find(change.ref)) if describe else ""
    return [said or _other(change)]


_EVALUATED = {"flag": flags.lines, "cohort": cohorts.lines}
"""Kinds whose effect is found by deciding before and after."""


def _other(change: Change) -> str:
    name = f"{kind_word(change.kind)} {change.key}"
    if change.before is None:
        return f"{name}: new"
    if change.after is None:
        return f"{name}: gone"
    return f"{name}: {changed_fields(field_changes(change))}"
