"""What a commit does to coverage and to what tiers require: cells lost and gained, requirements no longer met. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from brownout.model.operating import FailureMode
from brownout.model.resources import Flag, ResourceRef
from controlplane.contract.effects import listed
from controlplane.contract.specs import find_spec
from controlplane.errors import Fault
from controlplane.resilience.cell import NONE, Cell, Requirement
from controlplane.resilience.matrix import combinations, coverage
from controlplane.resilience.patterns import FIELDS, WORDS, unmet
from controlplane.resilience.world import KINDS, World, world_of

MAX_LINES = 5
"""Lines of each sort; the others are counted."""

GOVERNING = frozenset({"model_route", "fallback_ladder", "token_budget", "tool_policy", "retry_policy"})


MAX_CELLS, MAX_POLICIES = 50_000, 10_000
"""Cells that a commit compares, and policies that it composes for them: about a second. In a larger environment it
compares the normal state alone, or nothing, and says so."""


class Step(NamedTuple):
    """One resource before and after; None where it does not exist."""

    ref: ResourceRef
    before: bytes | None
    after: bytes | None


class Drift(msgspec.Struct, frozen=True):
    """What changes. `faults` are what a tier refuses, `lines` say the rest in words."""

    lost: tuple[tuple[Cell, Cell], ...] = ()
    """The cells before and after: answered or not possible, then a gap."""
    gained: tuple[tuple[Cell, Cell], ...] = ()
    lines: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def concerns(steps: Iterable[Step]) -> bool:
    """Whether any step can change coverage: what only describes, or only moves traffic between variants, cannot."""
    return any(_concerns(step) for step in steps)


def _concerns(step: Step) -> bool:
    if step.ref.kind not in KINDS:
        return False
    if step.ref.kind == "response_template":
        return step.before is None or step.after is None
    if step.ref.kind == "failure_mode":
        return _matters(step.before) != _matters(step.after)
    if step.ref.kind == "flag":
        before, after = find_spec(step.before, Flag), find_spec(step.after, Flag)
        governs = any(flag is not None and flag.type in GOVERNING for flag in (before, after))
        return governs and _serves(before) != _serves(after)
    return True


def _matters(spec: bytes | None) -> object:
    """What of a failure mode decides cells; the rest is for people."""
    mode = find_spec(spec, FailureMode)
    return spec if mode is None else (mode.detect, mode.classes, mode.say.user, mode.accepted)


def _serves(flag: Flag | None) -> object:
    return None if flag is None else (flag.type, flag.variants, flag.safe_variant)


def drift(present: Mapping[ResourceRef, bytes], steps: Sequence[Step], now: datetime) -> Drift:
    """Compares before and after.

    Args:
        present: every resource of KINDS as it was; of flags those suffice that request classes name, before or after.
    """
    outcome = {ref: spec for ref, spec in present.items() if ref not in {step.ref for step in steps}}
    outcome |= {step.ref: step.after for step in steps if step.after is not None}
    before, after = world_of(present), world_of(outcome)
    if not (before.modes or before.tiers or after.modes or after.tiers):
        return Drift()
    touched = {step.ref for step in steps}
    classes = _affected(before, touched) | _affected(after, touched)
    profiles, limit = _compared(before, after, classes)
    was, now_ = (
        {cell.place: cell for cell in coverage(world, now=now, classes=classes, profiles=profiles)}
        for world in (before, after)
    )
    both = [(cell, now_[place]) for place, cell in was.items() if place in now_]
    lost = tuple((old, new) for old, new in both if not _is_open(old) and _is_open(new))
    gained = tuple((old, new) for old, new in both if _is_open(old) and not _is_open(new))
    fresh = [cell for place, cell in now_.items() if place not in was and cell.is_gap]
    faults = (*_lost_faults(after, lost), *_tier_faults(before, after, classes))
    lines = (
        *_lines("warning: coverage lost", lost),
        *_lines("coverage gained", gained),
        *_fresh(fresh),
        *limit,
        *_unmet_lines(before, after, classes),
    )
    return Drift(lost, gained, lines, faults)


def _compared(before: World, after: World, classes: Collection[str]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The states of safe mode to compare, None for all, and what is said of those left out."""
    policies = max(combinations(world, classes) for world in (before, after))
    states = 1 + max(len(world.profiles) for world in (before, after))
    if policies > MAX_POLICIES:
        return (), ("warning: coverage was not compared, there are too many combinations of variants",)
    if policies * states > MAX_POLICIES or max(_cells(world, classes) for world in (before, after)) > MAX_CELLS:
        return (NONE,), ("coverage in safe mode: not compared, there are too many cells",)
    return None, ()


def _cells(world: World, classes: Collection[str]) -> int:
    return len(classes) * len(world.modes) * (1 + len(world.profiles))


def _is_open(cell: Cell) -> bool:
    """A gap, accepted or not."""
    return msgspec.structs.replace(cell, accepted="").is_gap


def _affected(world: World, touched: Iterable[ResourceRef]) -> set[str]:
    refs = set(touched)
    if any(ref.kind in {"safe_mode_profile", "failure_mode", "service_tier", "response_template"} for ref in refs):
        return set(world.classes)
    flags = {ref.key for ref in refs if ref.kind == "flag"}
    return {
        key
        for key, spec in world.classes.items()
        if ResourceRef("request_class", key) in refs
        or flags & {spec.model, spec.ladder, spec.budget, spec.tools, spec.retry}
    }


def _lines(what: str, pairs: Sequence[tuple[Cell, Cell]]) -> Iterator[str]:
    """`coverage lost: support-reply on refusal-surge: template → nothing`, the profiles of one such change together."""
    told: dict[tuple[str, str, str], list[str]] = {}
    for old, new in pairs:
        said = f"{words(old)} → {words(new)}"
        told.setdefault((new.request_class, new.mode, said), []).append(new.profile)
    for (key, mode, said), profiles in list(told.items())[:MAX_LINES]:
        where = "" if NONE in profiles else f" in safe mode {listed(profiles)}"
        yield f"{what}: {key} on {mode}{where}: {said}"
    if len(told) > MAX_LINES:
        yield f"{what}: {len(told) - MAX_LINES:,} more cells"


def _fresh(cells: Sequence[Cell]) -> Iterator[str]:
    """The gaps of classes and modes that are new."""
    by_class: dict[str, list[str]] = {}
    for cell in cells:
        if cell.profile == NONE:
            by_class.setdefault(cell.request_class, []).append(cell.mode)
    for key, modes in list(by_class.items())[:MAX_LINES]:
        yield f"coverage: {key} has no answer on {listed(modes)}"
    if len(by_class) > MAX_LINES:
        yield f"coverage: {len(by_class) - MAX_LINES:,} more request classes have gaps"


def words(cell: Cell) -> str:
    """What answers, in a word or two."""
    if cell.state == "answered":
        return f"{cell.rung} {cell.answer}".strip().replace("human_review", "human review")
    return {
        "not_possible": "not possible", "silent": "an answer without its notice", "raw": "shown raw",
        "nothing": "nothing", "too_many": "too many variants to say",
    }[cell.state]  # fmt: skip


def _lost_faults(world: World, lost: Iterable[tuple[Cell, Cell]]) -> Iterator[Fault]:
    told: set[tuple[str, str]] = set()
    for old, new in lost:
        tier = world.tier_of(new.request_class)
        if tier is None or tier.enforce != "refuse" or not tier.requires.covered or not new.is_gap:
            continue
        if (place := (new.request_class, new.mode)) not in told:
            told.add(place)
            message = (
                f"tier {world.classes[new.request_class].tier} keeps its request classes covered: {new.request_class} on "
                f"{new.mode} would change from {words(old)} to {words(new)}"
            )
            yield Fault("uncovered", message, f"/request_class/{new.request_class}/ladder")


def _tier_faults(before: World, after: World, classes: Iterable[str]) -> Iterator[Fault]:
    """What becomes unmet and is enforced. What was so before holds up no commit: a newer version may have allowed it."""
    for key in sorted(classes):
        was = set(_enforced(before, key))
        for name in _enforced(after, key):
            if name not in was:
                message = f"tier {after.classes[key].tier} requires {WORDS[name]} in request class {key}"
                yield Fault("tier_unmet", message, f"/request_class/{key}/{FIELDS[name]}")


def _enforced(world: World, key: str) -> tuple[Requirement, ...]:
    tier = world.tier_of(key)
    return unmet(world, key) if key in world.classes and tier is not None and tier.enforce == "refuse" else ()


def _unmet_lines(before: World, after: World, classes: Iterable[str]) -> Iterator[str]:
    for key in sorted(classes):
        if key not in after.classes:
            continue
        was = unmet(before, key) if key in before.classes else ()
        fresh = [WORDS[name] for name in unmet(after, key) if name not in was]
        if fresh:
            yield f"warning: tier {after.classes[key].tier}: {key} lacks {listed(fresh)}"
