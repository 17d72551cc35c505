"""What a changed flag gives to whom."""

import msgspec

from brownout.model.resources import Split
from controlplane.configuration.store.effective.audiences import Audience, audiences, without_unit
from controlplane.configuration.store.effective.sides import Got, Side
from controlplane.configuration.store.effective.words import changed_fields, listed
from controlplane.configuration.store.fields import compare, field_changes
from controlplane.configuration.store.values import Change
from controlplane.contract.reach import unreachable

MAX_RULES = 500
"""Each rule's audience is asked about every rule before it, while the environment is locked: more are not told apart."""

MAX_WARNINGS = 5


def lines(change: Change, before: Side, after: Side) -> list[str]:
    """A line for each audience that gets something else; when no one does, what changed all the same. Then a warning for
    each rule that no one can reach."""
    return [*_changed(change, before, after), *_warnings(change.key, after)]


def _warnings(key: str, after: Side) -> list[str]:
    flag = after.flag(key)
    hidden = list(unreachable(flag.rules).items()) if flag is not None else []
    found = [
        f"warning: flag {key}: rule {rule} never serves, rule {first} before it catches everyone it asks for"
        for rule, first in hidden[:MAX_WARNINGS]
    ]
    if len(hidden) > MAX_WARNINGS:
        found.append(f"warning: flag {key}: {len(hidden) - MAX_WARNINGS:,} more rules never serve")
    return found


def _changed(change: Change, before: Side, after: Side) -> list[str]:
    key = change.key
    if change.after is None:
        return [f"flag {key}: gone, callers get their own default"]
    if (rules := max(_rules(key, before), _rules(key, after))) > MAX_RULES:
        what = f"new, with {rules:,} rules" if change.before is None else changed_fields(field_changes(change))
        return [f"flag {key}: {what}"]
    if change.before is None:
        parts = [f"{audience.words} gets {after.got(key, audience.context).words}" for audience in _asked(key, after)]
        parts += [f"{one.words} get {after.got(key, one.context).words}" for one in _anonymous(key, after)]
        return [f"flag {key}: new, {listed(parts)}"]
    told: dict[str, list[str]] = {}
    for audience in _both(key, before, after):
        what = _differs(before.got(key, audience.context), after.got(key, audience.context))
        if what:
            told.setdefault(what, []).append(audience.words)
    if told:
        changed = [_line(_everybody(who), key, what, after) for what, who in told.items()]
        return [*changed, *_anonymous_lines(key, before, after)]
    sure = _meets_all(key, before) and _meets_all(key, after)
    nobody = "no one gets anything else" if sure else "no one was found who gets anything else"
    return [f"flag {key}: {nobody}; {changed_fields(field_changes(change))}"]


def _rules(key: str, side: Side) -> int:
    flag = side.flag(key)
    return 0 if flag is None else len(flag.rules)


def _line(who: str, key: str, what: str, side: Side) -> str:
    """`beta cohort, support-reply: model small → big`; of a flag that governs nothing `beta cohort: web-search …`."""
    governed = side.governed_by(key)
    if not governed:
        return f"{who}: {key} {what}"
    return f"{who}, {listed(sorted({name for name, _ in governed}))}: {governed[0][1]} {what}"


def _asked(key: str, side: Side) -> list[Audience]:
    """The audiences whose context ends at the very rule that made them (a rule can hide behind another)."""
    flag = side.flag(key)
    if flag is None:
        return []
    return [one for one in audiences(flag, side.cohort) if side.decide(key, one.context).rule == one.rule]


def _anonymous_lines(key: str, before: Side, after: Side) -> list[str]:
    found = []
    for one in _anonymous(key, after):
        then, now = before.got(key, one.context), after.got(key, one.context)
        found.append(_line(one.words, key, _differs(then, now) or f"stays {now.words}", after))
    return found


def _anonymous(key: str, side: Side) -> list[Audience]:
    """The audiences that a split divides, without what it hashes, where its fallback is what they get."""
    flag = side.flag(key)
    if flag is None:
        return []
    rules = {rule.id: rule.serve for rule in flag.rules}
    divided = [(one, rules[one.rule] if one.rule else flag.default) for one in _asked(key, side)]
    found = [without_unit(one, serve.by) for one, serve in divided if isinstance(serve, Split)]
    return [one for one in found if side.decide(key, one.context).metadata.get("unit_missing")]


def _meets_all(key: str, side: Side) -> bool:
    """Whether somebody was found for every rule that somebody can reach: one is out of reach behind a broader one."""
    flag = side.flag(key)
    if flag is None or not flag.enabled:
        return True
    met = {audience.rule for audience in _asked(key, side)}
    hidden = unreachable(flag.rules)
    return all(rule.id in met or rule.id in hidden for rule in flag.rules)


def _both(key: str, before: Side, after: Side) -> list[Audience]:
    """Those that either side tells apart, each once: whoever is "everyone" to one side is the rest to the other."""
    found: dict[str, Audience] = {}
    rest: list[Audience] = []
    for side in (after, before):
        for audience in _asked(key, side):
            if audience.rule is None:
                rest.append(audience)
            else:
                found.setdefault(audience.words, audience)
    if rest:
        words = "everyone else" if found else "everyone"
        found[words] = rest[0]._replace(words=words)
    return list(found.values())


def _differs(before: Got, after: Got) -> str:
    """`small → big`; for the same variant with another value `small: primary mini → nano`; "" when nothing does."""
    if before.words != after.words:
        return f"{before.words} → {after.words}"
    parts = []
    for name, value in after.values.items():
        fields = compare(msgspec.json.encode(before.values.get(name)), msgspec.json.encode(value))
        if fields:
            parts.append(f"{name}: {changed_fields(fields)}")
    return "; ".join(parts)


def _everybody(who: list[str]) -> str:
    return "everyone" if len(who) > 1 and "everyone else" in who else listed(who)
