"""An example member of a cohort, so that a preview can show what that cohort would get."""

from brownout.evaluation.compile import Compiled
from brownout.model.resources import Clause, Cohort, ResourceRef
from controlplane.contract.specs import find_spec

Value = str | int | float | bool


def example_member(compiled: Compiled, key: str) -> dict[str, object] | None:
    """A context that is in the cohort, or None when none was found (its rules exclude what they ask for)."""
    spec = find_spec(compiled.resources.get(ResourceRef("cohort", key)), Cohort)
    if spec is None:
        return None
    named = next((unit for unit in spec.include if unit not in spec.exclude), None)
    candidates: list[dict[str, object]] = [] if named is None else [{spec.by: named}]
    candidates += [{spec.by: "example", **_attributes(clauses)} for clauses in spec.any_of]
    contains = compiled.cohort(key).contains
    for flat in candidates:
        context = _nested(flat)
        if contains(context):
            return context
    return None


def _attributes(clauses: tuple[Clause, ...]) -> dict[str, object]:
    """Values that make the clauses hold, where one clause at a time can tell."""
    return {clause.attribute: _value(clause) for clause in clauses if clause.attribute and not clause.negate}


def _value(clause: Clause) -> Value:
    if not clause.values:
        return True
    first = clause.values[0]
    if isinstance(first, int | float) and not isinstance(first, bool):
        return {"lt": first - 1, "gt": first + 1}.get(clause.op, first)
    if isinstance(first, str):
        shifted = {"before": "1970-01-01T00:00:00Z", "after": "2999-01-01T00:00:00Z",
                   "semver_lt": "0.0.0", "semver_gt": "99999.0.0"}  # fmt: skip
        return shifted.get(clause.op, first)
    return first


def _nested(flat: dict[str, object]) -> dict[str, object]:
    """`{"user.plan": "pro"}` as `{"user": {"plan": "pro"}}`."""
    made: dict[str, object] = {}
    for path, value in flat.items():
        *parents, last = path.split(".")
        at = made
        for parent in parents:
            inner = at.setdefault(parent, {})
            if not isinstance(inner, dict):
                inner = at[parent] = {}
            at = inner
        at[last] = value
    return made
