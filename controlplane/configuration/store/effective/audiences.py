"""Who a rule speaks of: words for it, and a context that stands for them."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from brownout.model.operators import instant
from brownout.model.resources import Clause, Cohort, Flag, Serve, Split
from controlplane.configuration.store.effective.words import either, shown

SOMEBODY = "somebody in particular"
"""A unit that is in no list and stands for whoever is not singled out."""

_SIGNS = {
    "starts_with": "starts with", "ends_with": "ends with", "contains": "contains", "lt": "<", "lte": "≤",
    "gt": ">", "gte": "≥", "before": "before", "after": "after", "semver_eq": "is version", "semver_lt": "< version",
    "semver_lte": "≤ version", "semver_gt": "> version", "semver_gte": "≥ version",
}  # fmt: skip
_OPPOSITE = {
    "lt": "gte", "lte": "gt", "gt": "lte", "gte": "lt", "before": "after", "after": "before",
    "semver_lt": "semver_gte", "semver_lte": "semver_gt", "semver_gt": "semver_lte", "semver_gte": "semver_lt",
}  # fmt: skip

Cohorts = Callable[[str], Cohort | None]


class Audience(NamedTuple):
    """`rule` is the id of the rule that made it, None for those whom no rule singles out."""

    words: str
    context: Mapping[str, Any]
    rule: str | None


def audiences(flag: Flag, cohorts: Cohorts) -> list[Audience]:
    """Whoever a flag's rules tell apart, in their order, and then the rest."""
    if not flag.enabled:
        return [Audience("everyone", {"targeting_key": SOMEBODY}, None)]
    found = [
        Audience(_who(rule.when), _with_unit(_satisfying(rule.when, cohorts), rule.serve), rule.id)
        for rule in flag.rules
    ]
    rest = "everyone else" if flag.rules else "everyone"
    return [*found, Audience(rest, _with_unit({"targeting_key": SOMEBODY}, flag.default), None)]


def without_unit(audience: Audience, attribute: str) -> Audience:
    """Those of an audience whose request lacks what a split hashes."""
    words = "requests without a unit" if audience.words.startswith("everyone") else f"{audience.words} without a unit"
    return Audience(words, _dropped(audience.context, attribute.split(".")), audience.rule)


def member(cohort: Cohort, unit: str) -> dict[str, Any]:
    """A context whose unit is `unit`."""
    context: dict[str, Any] = {"targeting_key": unit}
    _set(context, cohort.by, unit)
    return context


def _who(clauses: tuple[Clause, ...]) -> str:
    return " and ".join(_clause_words(clause) for clause in clauses) or "everyone"


def _clause_words(clause: Clause) -> str:
    names = [shown(value) for value in clause.values]
    if clause.op == "in_cohort":
        return f"{'outside ' if clause.negate else ''}{either(names)} cohort"
    if clause.op == "exists":
        return f"{'without' if clause.negate else 'with'} {clause.attribute}"
    if clause.op == "in":
        return f"{clause.attribute} is {'not ' if clause.negate else ''}{either(names)}"
    return f"{clause.attribute} {'not ' if clause.negate else ''}{_SIGNS[clause.op]} {either(names)}"


def _satisfying(clauses: tuple[Clause, ...], cohorts: Cohorts) -> dict[str, Any]:
    """A context made so that each clause holds. Clauses may contradict each other: ask the evaluator whether it did."""
    context: dict[str, Any] = {"targeting_key": SOMEBODY}
    for clause in clauses:
        if clause.op != "in_cohort":
            _satisfy(context, clause)
            continue
        cohort = cohorts(str(clause.values[0]))
        if cohort is None or clause.negate:
            continue
        named = next((unit for unit in cohort.include if unit not in cohort.exclude), None)
        if named is not None:
            _set(context, cohort.by, named)
        elif cohort.any_of:
            for inner in cohort.any_of[0]:
                _satisfy(context, inner)
    return context


def _with_unit(context: dict[str, Any], serve: Serve) -> dict[str, Any]:
    """`context` with what a split hashes, unless it has that already."""
    if isinstance(serve, Split) and _dropped(context, serve.by.split(".")) == context:
        _set(context, serve.by, SOMEBODY)
    return context


def _satisfy(context: dict[str, Any], clause: Clause) -> None:
    if clause.op == "exists":
        if not clause.negate:
            _set(context, clause.attribute, SOMEBODY)
        return
    op: str = clause.op
    if clause.negate and op in _OPPOSITE:
        op = _OPPOSITE[op]
    elif clause.negate:
        _set(context, clause.attribute, _another(op, clause.values))
        return
    _set(context, clause.attribute, _fitting(op, clause.values[0]))


def _fitting(op: str, operand: str | float | bool) -> Any:
    match op:
        case "lt" | "gt":
            return float(operand) + (1 if op == "gt" else -1)
        case "before" | "after":
            return _beside(str(operand), 1 if op == "after" else -1)
        case "semver_gt":
            return f"{int(str(operand).split('.')[0].split('-')[0].split('+')[0]) + 1}.0.0"
        case "semver_lt":
            return "0.0.0-0"
        case _:
            return operand


def _beside(operand: str, days: int) -> str:
    """An instant so many days from `operand`, if the calendar has one."""
    at = instant(operand)
    try:
        return operand if at is None else (at + timedelta(days=days)).isoformat()
    except OverflowError:
        return operand


def _another(op: str, values: tuple[str | int | float | bool, ...]) -> Any:
    """A value of the operands' type that is none of them."""
    first = values[0]
    if op == "semver_eq":
        return "9999.0.0"
    if isinstance(first, bool):
        return not first
    if isinstance(first, str):
        return SOMEBODY
    return max(value for value in values if not isinstance(value, str)) + 1


def _dropped(context: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    first, *rest = path
    kept = {name: value for name, value in context.items() if name != first}
    inner = context.get(first)
    return kept | {first: _dropped(inner, rest)} if rest and isinstance(inner, Mapping) else kept


def _set(context: dict[str, Any], path: str, value: Any) -> None:
    """Sets a dotted path; a path through something else than an object is left out."""
    *steps, last = path.split(".")
    node: Any = context
    for step in steps:
        node = node.setdefault(step, {})
        if not isinstance(node, dict):
            return
    node[last] = value
