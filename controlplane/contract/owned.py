"""What a rollout owns, at the commit: its progress, and its rules in a flag (ADR 0076). Pure.

People's puts keep what the rollout owns; what would change it is refused with the way to do it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from brownout.model.faults import Fault, pointer
from brownout.model.parse import decode
from brownout.model.resources import Flag, Progress, ResourceRef, Rollout, Rule, Spec
from controlplane.contract.rollout_rules import expected, owner

Present = Mapping[ResourceRef, bytes]
Resources = Mapping[ResourceRef, Spec]

CODE: Literal["owned"] = "owned"

MARK = b'"rollout:'
"""Stands in the canonical JSON of every flag with a rollout's rule."""


class Owned(msgspec.Struct, frozen=True):
    """How a machine's state is kept, in resources of one kind."""

    machine: str
    """The kind whose service and engine alone write it."""
    mark: bytes
    """Found in the canonical JSON of every resource that holds owned state."""
    without: Callable[[Any], Any]
    """A spec as people own it: what exports and restores carry."""
    kept: Callable[[Any, Any], Any]
    """What people put, with the owned state of the spec that is there."""
    faults: Callable[[Present, Resources, Iterable[ResourceRef], str], Iterator[Fault]]
    """What is wrong with a commit: resources before and after it, those that it changes, and whose commit it is."""


def without(flag: Flag) -> Flag:
    """The flag without any rollout's rules."""
    return replace(flag, rules=tuple(rule for rule in flag.rules if owner(rule) is None))


def kept(put: Flag, present: Flag) -> Flag:
    """`put` with the rules of each rollout that it leaves out, each before the first rule that followed it."""
    named = {owner(rule) for rule in put.rules} - {None}
    rules = list(put.rules)
    for index in reversed(range(len(present.rules))):
        rule = present.rules[index]
        if owner(rule) is None or owner(rule) in named:
            continue
        after = {later.id for later in present.rules[index + 1 :]}
        place = next((i for i, other in enumerate(rules) if other.id in after), len(rules))
        rules.insert(place, rule)
    return put if len(rules) == len(put.rules) else replace(put, rules=tuple(rules))


def faults(before: Present, after: Resources, touched: Iterable[ResourceRef], machine: str) -> Iterator[Fault]:
    """A flag holds exactly the rules that its rollouts expect, and only a rollout's own commit moves its progress.

    What was wrong before and is not made worse is nobody's fault: an old mistake must not hold up a commit.
    """
    refs = set(touched)
    if machine != "rollout":
        for ref in sorted(refs):
            if ref.kind == "rollout":
                yield from _progress(ref.key, _rollout(before, ref), after.get(ref))
    for flag, key in sorted(_pairs(before, after, refs)):
        yield from _disagreement(before, after, refs, flag, key)


def _pairs(before: Present, after: Resources, touched: set[ResourceRef]) -> set[tuple[str, str]]:
    """Flags and rollouts that the commit could have set at odds."""
    found: set[tuple[str, str]] = set()
    for ref in touched:
        if ref.kind == "rollout":
            sides = (_rollout(before, ref), after.get(ref))
            found |= {(one.flag, ref.key) for one in sides if isinstance(one, Rollout)}
        elif ref.kind == "flag":
            rules = (*_rules(before, ref), *_after_rules(after, ref))
            found |= {(ref.key, key) for rule in rules if (key := owner(rule)) is not None}
    return found


def _disagreement(before: Present, after: Resources, touched: set[ResourceRef], flag: str, key: str) -> Iterator[Fault]:
    ref, rollout_ref = ResourceRef("flag", flag), ResourceRef("rollout", key)
    now = _after_rules(after, ref)
    there = tuple(rule for rule in now if owner(rule) == key)
    was = tuple(rule for rule in _rules(before, ref) if owner(rule) == key)
    rollout = after.get(rollout_ref)
    if rollout is not None and not isinstance(rollout, Rollout):
        wanted = was  # this version cannot read it: nothing may change
    else:
        wanted = expected(rollout, key) if rollout is not None and rollout.flag == flag else ()
    old = _rollout(before, rollout_ref)
    wanted_before = expected(old, key) if old is not None and old.flag == flag else ()
    if there == wanted or (there == was and wanted == wanted_before):
        return
    way = f"`brownout rollout show {key}` says what it serves, and its own moves change that"
    index = next((i for i, rule in enumerate(now) if owner(rule) == key and rule not in wanted), None)
    if index is None and (ref not in after or ref not in touched):
        why = f"the flag {flag} would not serve what the rollout says: {way}"
        yield Fault(CODE, why, "", kind="rollout", key=key)
    elif index is None:
        why = f"the rules of the rollout {key} would not be what it says: {way}"
        yield Fault(CODE, why, "/rules", kind="flag", key=flag)
    else:
        why = f"the rule {now[index].id} belongs to the rollout {key}: leave it as it is, or leave it out; {way}"
        yield Fault(CODE, why, pointer("/rules", index), kind="flag", key=flag)


def _progress(key: str, old: Rollout | None, new: Spec | None) -> Iterator[Fault]:
    was = old.progress if old is not None else Progress()
    becomes = new.progress if isinstance(new, Rollout) else Progress()
    if was == becomes:
        return
    if new is None:
        why = f"the rollout {key} ran: `brownout rollout delete {key}` deletes it, once it serves no one"
        yield Fault(CODE, why, "", kind="rollout", key=key)
        return
    why = f"progress is the rollout's own: leave it out, and move it with `brownout rollout start {key}` and the like"
    yield Fault(CODE, why, "/progress", kind="rollout", key=key)


def _rollout(before: Present, ref: ResourceRef) -> Rollout | None:
    try:
        found = decode("rollout", before[ref])
    except (KeyError, msgspec.DecodeError):
        return None
    assert isinstance(found, Rollout)
    return found


def _rules(before: Present, ref: ResourceRef) -> tuple[Rule, ...]:
    if MARK not in before.get(ref, b""):
        return ()
    try:
        flag = decode("flag", before[ref])
    except msgspec.DecodeError:
        return ()
    assert isinstance(flag, Flag)
    return flag.rules


def _after_rules(after: Resources, ref: ResourceRef) -> tuple[Rule, ...]:
    flag = after.get(ref)
    return flag.rules if isinstance(flag, Flag) else ()


MARK = b'"rollout:'

FLAG = Owned("rollout", MARK, without, kept, faults)
"""Stands in the canonical JSON of every flag with a rollout's rule."""

FLAG = Owned("rollout", MARK, without, kept, faults)
ROLLOUT = Owned("rollout", b'"progress"', lambda spec: replace(spec, progress=Progress()), lambda put, _: put, faults)
