"""What a changed cohort means for who joins and who leaves it."""

from collections.abc import Mapping

from brownout.model.resources import Cohort
from controlplane.configuration.store.effective.audiences import member
from controlplane.configuration.store.effective.sides import Side
from controlplane.configuration.store.effective.words import listed
from controlplane.configuration.store.values import Change

FLAGS_ASKED = 20


def lines(change: Change, before: Side, after: Side) -> list[str]:
    """Who joins, who leaves, and what the flags that look at the cohort then give them."""
    name = f"{change.key} cohort"
    old, new = before.cohort(change.key), after.cohort(change.key)
    if new is None:
        return [f"{name}: gone"]
    if old is None:
        return [f"{name}: new, {_size(new)}"]
    found: list[str] = []
    for verb, units in (("joining", _units(new) - _units(old)), ("leaving", _units(old) - _units(new))):
        if units:
            found.append(
                f"{verb} the {name} ({listed(sorted(units))}): {_moved(change.key, member(new, min(units)), before, after)}"
            )
    if (old.by, old.any_of) != (new.by, new.any_of):
        found.append(f"{name}: belongs by other rules now, asked by {listed(after.flags_naming(change.key))}")
    return found or [f"{name}: no one joins or leaves"]


def _moved(cohort_key: str, context: Mapping[str, object], before: Side, after: Side) -> str:
    """What one of them gets before and after, from each flag that looks at the cohort."""
    parts = []
    for key in after.flags_naming(cohort_key)[:FLAGS_ASKED]:
        then, now = before.got(key, context).words, after.got(key, context).words
        if then != now:
            parts.append(f"{key} {then} → {now}")
    return listed(parts) if parts else "no flag gives them anything else"


def _units(cohort: Cohort) -> set[str]:
    return set(cohort.include) - set(cohort.exclude)


def _size(cohort: Cohort) -> str:
    named = f"{len(_units(cohort)):,} named" if cohort.include else ""
    return " and ".join(part for part in (named, "all who fit its rules" if cohort.any_of else "") if part) or "empty"
