"""How a decision came about, rule by rule: for the playground and `brownout explain`, not for services.

Each clause is tested by the very expression that evaluation runs, one at a time.
"""

from typing import Any, Literal

import msgspec

from brownout.context import NOTHING, Context
from brownout.evaluation.compile import Compiled
from brownout.evaluation.decision import Decision
from brownout.evaluation.evaluate import evaluate
from brownout.evaluation.source import CompiledCohort, Program
from brownout.model.codec import decode
from brownout.model.resources import Clause, Cohort, Flag, ResourceRef

Result = Literal["held", "failed", "unknown", "invalid"]
"""`unknown`: the attribute is missing or of another type; `invalid`: the context cannot be read."""


class ClauseTrace(msgspec.Struct, frozen=True):
    """A clause, and whether it held for the context."""

    clause: Clause
    result: Result


class RuleTrace(msgspec.Struct, frozen=True):
    """`matched` decides whether the rule served; its clauses are all tested, even past the first that failed."""

    id: str
    clauses: tuple[ClauseTrace, ...]
    matched: bool


class Trace(msgspec.Struct, frozen=True):
    """The rules tried, in order, up to the one that served."""

    decision: Decision[Any]
    rules: tuple[RuleTrace, ...] = ()


def trace(compiled: Compiled, key: str, context: Context | None = None, *, service: str | None = None) -> Trace:
    """What `evaluate` decides for flag `key` of any type (default None), and why; never raises."""
    decision = evaluate(compiled, key, context, default=None, service=service)
    raw = compiled.resources.get(ResourceRef("flag", key))
    decided_before = decision.rule is None and (
        decision.reason in {"DISABLED", "STATIC"} or "safe_mode" in decision.metadata
    )
    if raw is None or decided_before or decision.error_code in {"PARSE_ERROR", "GENERAL"}:
        return Trace(decision)
    spec = decode("flag", raw)
    assert isinstance(spec, Flag)
    rules = []
    for rule in spec.rules:
        clauses = tuple(ClauseTrace(clause, _test(compiled, clause, context)) for clause in rule.when)
        rules.append(RuleTrace(rule.id, clauses, rule.id == decision.rule))
        if rule.id == decision.rule:
            break
    return Trace(decision, tuple(rules))


class CohortTrace(msgspec.Struct, frozen=True):
    """Whether a context belongs to a cohort, and what decided.

    `belongs` None: the context lacks what decides it, a unit or an attribute, so clauses on the cohort hold neither way.
    `alternatives` are the cohort's `any_of`, each clause tested; `matched` is the index of the first that held.
    """

    belongs: bool | None
    because: Literal["excluded", "included", "described", "not_described", "unit_missing", "attribute_missing"]
    by: str
    alternatives: tuple[tuple[ClauseTrace, ...], ...]
    matched: int | None


def trace_cohort(compiled: Compiled, key: str, context: Context | None = None) -> CohortTrace:
    """Asks the very membership test that evaluation runs, then each of its parts alone.

    Raises:
        LookupError: there is no such cohort.
    """
    cohort, context = compiled.cohort(key), NOTHING if context is None else context
    spec = decode("cohort", compiled.resources[ResourceRef("cohort", key)])
    assert isinstance(spec, Cohort)
    belongs = cohort.decides(context)
    alternatives = tuple(tuple(ClauseTrace(c, _test(compiled, c, context)) for c in clauses) for clauses in spec.any_of)
    held = (all(clause.result == "held" for clause in clauses) for clauses in alternatives)
    matched = next((index for index, each in enumerate(held) if each), None)
    if belongs is None:
        named = cohort.include | cohort.exclude
        units = CompiledCohort(spec.by, named, frozenset(), ()).decides(context) if named else False
        because: Literal["unit_missing", "attribute_missing"] = "unit_missing" if units is None else "attribute_missing"
        return CohortTrace(None, because, spec.by, alternatives, matched)
    named = cohort.exclude if not belongs else cohort.include
    if CompiledCohort(spec.by, named, frozenset(), ()).contains(context):
        return CohortTrace(belongs, "included" if belongs else "excluded", spec.by, alternatives, None)
    return CohortTrace(belongs, "described" if belongs else "not_described", spec.by, alternatives, matched)


def _test(compiled: Compiled, clause: Clause, context: Context | None) -> Result:
    held = _holds(compiled, clause, context)
    if held is None:
        return "invalid"
    if held:
        return "held"
    opposite = msgspec.structs.replace(clause, negate=not clause.negate)
    return "failed" if _holds(compiled, opposite, context) else "unknown"


def _holds(compiled: Compiled, clause: Clause, context: Context | None) -> bool | None:
    program = Program()
    with program.when_all([clause], compiled.cohort):
        program.line("return True")
    program.line("return False")
    held: bool | None = program.build(lambda _: None)(NOTHING if context is None else context)
    return held


def explain(trace: Trace) -> str:
    """The trace as prose, one line a step."""
    decision = trace.decision
    lines = [f"{decision.flag}: {_json(decision.value)} (variant {decision.variant}) at revision {decision.revision}"]
    if decision.error_code is not None:
        why = (
            f"safe mode {decision.metadata['safe_mode']} excludes all of it"
            if decision.metadata.get("excluded")
            else ""
        )
        lines = [f"{decision.flag}: the caller's default, because {why or f'of {decision.error_code}'}"]
    for rule in trace.rules:
        lines.append(f"  rule {rule.id}: {'served' if rule.matched else 'did not match'}")
        lines += [f"    {_clause(tested.clause)}: {tested.result}" for tested in rule.clauses]
    if decision.rule is None and decision.error_code is None:
        lines.append("  " + _closing(decision))
    if decision.metadata.get("tightened"):
        lines.append(f"  safe mode {decision.metadata['safe_mode']} takes out what it excludes, and limits the rest")
    if decision.metadata.get("unit_missing"):
        lines.append("  the context has no usable unit to split by, so the fallback of the split was served")
    return "\n".join(lines)


def _clause(clause: Clause) -> str:
    values = ", ".join(map(_json, clause.values[:5])) + (", …" if len(clause.values) > 5 else "")
    words = [clause.attribute, "not" if clause.negate else "", clause.op, values]
    return " ".join(word for word in words if word)


def _json(value: object) -> str:
    """As people know it from the flag itself, whatever struct holds it here."""
    return msgspec.json.encode(value).decode()


def _closing(decision: Decision[Any]) -> str:
    activation = decision.metadata.get("safe_mode")
    if activation is not None and decision.reason == "TARGETING_MATCH":
        return f"safe mode {activation} serves the safe variant"
    match decision.reason:
        case "DISABLED":
            return "the flag is off"
        case "STATIC":
            return "the flag has no rules"
        case "SPLIT":
            return "no rule matched; the default split chose"
        case _:
            return "no rule matched; the default served"
