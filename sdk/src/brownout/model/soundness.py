"""What must be true inside one spec beyond its shape: one function a kind. Each yields faults; none raises."""

from collections import Counter
from collections.abc import Iterator, Sequence

from brownout.model.faults import Fault, pointer
from brownout.model.measures import MEAN_MEASURES, MEASURES, scale
from brownout.model.operating import FailureMode
from brownout.model.operators import operand_fault
from brownout.model.resources import (
    Clause,
    Cohort,
    Flag,
    RequestClass,
    ResponseTemplate,
    Rollout,
    SafeModeActivation,
    Serve,
    Split,
)
from brownout.model.schema import schema_faults, value_faults
from brownout.model.template import placeholders
from brownout.model.values import FallbackLadder, ModelRoute, Prompt, RungType


def cohort(spec: Cohort) -> Iterator[Fault]:
    for index, clauses in enumerate(spec.any_of):
        yield from _clauses(clauses, pointer("/any_of", index), nested=True)


def activation(spec: SafeModeActivation) -> Iterator[Fault]:
    if spec.expires_at <= spec.activated_at:
        yield Fault("expired", "expires before it is activated", "/expires_at")


def template(spec: ResponseTemplate) -> Iterator[Fault]:
    yield from _text(spec.text, "/text")


def request_class(spec: RequestClass) -> Iterator[Fault]:
    for error, text in spec.notices.items():
        yield from _text(text, pointer("/notices", error))


def failure_mode(spec: FailureMode) -> Iterator[Fault]:
    for field, names in (
        ("/detect/errors", spec.detect.errors),
        ("/classes", spec.classes),
        ("/accepted", tuple(each.request_class for each in spec.accepted)),
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Fault("duplicate", f"{name} stands more than once", pointer(field, index))


def _text(text: str, at: str) -> Iterator[Fault]:
    try:
        placeholders(text)
    except ValueError as error:
        yield Fault("invalid_value", str(error), at)


def flag(spec: Flag) -> Iterator[Fault]:
    yield from _variant(spec, spec.off_variant, "/off_variant")
    if spec.safe_variant is not None:
        yield from _variant(spec, spec.safe_variant, "/safe_variant")
    yield from _serve(spec, spec.default, "/default")
    repeated = Counter(rule.id for rule in spec.rules)
    for index, rule in enumerate(spec.rules):
        at = pointer("/rules", index)
        if repeated[rule.id] > 1:
            yield Fault("duplicate", f"rule id {rule.id!r} stands more than once", pointer(at, "id"))
        yield from _clauses(rule.when, pointer(at, "if"))
        yield from _serve(spec, rule.serve, pointer(at, "serve"))
    if spec.schema is not None:
        yield from _schema(spec)
    for name, value in spec.variants.items():
        at = pointer("/variants", name)
        if isinstance(value, ModelRoute):
            yield from _route(value, at)
        elif isinstance(value, FallbackLadder):
            yield from _ladder(value, at)
        elif isinstance(value, Prompt):
            yield from _prompt(value, spec, at)


def rollout(spec: Rollout) -> Iterator[Fault]:
    if spec.control == spec.treatment:
        yield Fault("invalid_value", "control and treatment are the same variant", "/treatment")
    for index, guardrail in enumerate(spec.guardrails):
        if (guardrail.action == "safe_mode") != (guardrail.profile is not None):
            yield Fault("missing_field", "the action safe_mode names a profile, and no other does",
                        pointer("/guardrails", index, "profile"))  # fmt: skip
        if guardrail.max_rate is not None and scale(guardrail.measure) not in {"share", None}:
            yield Fault("invalid_value", f"{guardrail.measure} is no rate of bad events",
                        pointer("/guardrails", index, "max_rate"))  # fmt: skip
    judged = {
        "guardrails": [(one.measure, one.max_rate is not None) for one in spec.guardrails],
        "gates": [(one.measure, False) for one in spec.gates],
    }
    for field, rules in judged.items():
        for index, rule in enumerate(rules):
            if scale(rule[0]) is None:
                known = ", ".join((*MEASURES, *MEAN_MEASURES))
                yield Fault("invalid_value", f"no measure {rule[0]!r}; there are {known}, and event:, value: or amount:"
                            " with a name that services track", pointer("", field, index, "measure"))  # fmt: skip
            if rules.count(rule) > 1:
                yield Fault("duplicate", f"{rule[0]} stands more than once", pointer("", field, index, "measure"))
    if spec.progress.stage >= len(spec.stages):
        yield Fault("invalid_value", f"there are only {len(spec.stages)} stages", "/progress/stage")


def _variant(flag: Flag, name: str, at: str) -> Iterator[Fault]:
    if name not in flag.variants:
        yield Fault("unknown_variant", f"no variant {name!r}; there are {', '.join(flag.variants)}", at)


def _serve(flag: Flag, serve: Serve, at: str) -> Iterator[Fault]:
    if not isinstance(serve, Split):
        yield from _variant(flag, serve, at)
        return
    for index, share in enumerate(serve.split):
        yield from _variant(flag, share.variant, pointer(at, "split", index, "variant"))
    if serve.fallback is not None:
        yield from _variant(flag, serve.fallback, pointer(at, "fallback"))
    total = sum(share.weight_bp for share in serve.split)
    if total != 10_000:
        yield Fault("split_sum", f"the weights sum to {total:,}, not 10,000", pointer(at, "split"))


def _clauses(clauses: Sequence[Clause], at: str, *, nested: bool = False) -> Iterator[Fault]:
    for index, clause in enumerate(clauses):
        here = pointer(at, index)
        if clause.op == "in_cohort":
            if nested:
                yield Fault("invalid_value", "a cohort cannot be built on cohorts", pointer(here, "op"))
            if clause.attribute:
                yield Fault("invalid_value", "in_cohort takes no attribute", pointer(here, "attribute"))
        elif not clause.attribute:
            yield Fault("missing_field", f"{clause.op} needs an attribute", pointer(here, "attribute"))
        fault = operand_fault(clause)
        if fault:
            yield Fault("invalid_value", fault, pointer(here, "values"))


def _schema(flag: Flag) -> Iterator[Fault]:
    assert flag.schema is not None
    if flag.type != "object":
        yield Fault("invalid_value", "only an object flag has a schema", "/schema")
        return
    faults = list(schema_faults(flag.schema, "/schema"))
    yield from faults
    if not faults:
        for name, value in flag.variants.items():
            assert isinstance(value, dict)  # the type was checked before
            yield from value_faults(flag.schema, value, pointer("/variants", name))


def _route(route: ModelRoute, at: str) -> Iterator[Fault]:
    if route.primary not in route.targets:
        known = ", ".join(route.targets) or "none"
        yield Fault("missing_target", f"no target {route.primary!r}; there are {known}", pointer(at, "primary"))
    for name, target in route.targets.items():
        window, output = target.max_context_tokens, target.params.max_output_tokens
        if window is not None and output is not None and output > window:
            here = pointer(at, "targets", name, "params", "max_output_tokens")
            yield Fault("over_window", f"{output:,} tokens do not fit the window of {window:,}", here)


def _prompt(prompt: Prompt, flag: Flag, at: str) -> Iterator[Fault]:
    """A service passes the same values whichever variant it gets, so no change of variants leaves a placeholder empty."""
    for index, name in enumerate(prompt.variables):
        here = pointer(at, "variables", index)
        if not name.isidentifier():
            yield Fault("invalid_value", f"{name!r} is not a name that can stand in braces", here)
        if name in prompt.variables[:index]:
            yield Fault("duplicate", f"{name!r} stands more than once", here)
    first = next(iter(flag.variants.values()))
    if isinstance(first, Prompt) and set(first.variables) != set(prompt.variables):
        yield Fault("invalid_value", "every variant declares the same variables", pointer(at, "variables"))
    for index, message in enumerate(prompt.messages):
        here = pointer(at, "messages", index, "text")
        try:
            unknown = [name for name in placeholders(message.text) if name not in prompt.variables]
        except ValueError as error:
            yield Fault("invalid_value", f"{error}; write {{{{ and }}}} for braces", here)
            continue
        if unknown:
            yield Fault("unknown_reference", f"not declared as variables: {', '.join(unknown)}", here)


_NEEDS: dict[RungType, tuple[str, ...]] = {
    "model": ("target",), "template": ("template",), "later": ("template", "not_after_s"),
    "cache": (), "evidence": (), "human_review": (),
}  # fmt: skip
_MAY: dict[RungType, tuple[str, ...]] = {
    "cache": ("max_age_s",),
    "evidence": ("template", "max_sources"),
    "human_review": ("queue",),
}
_OWN = ("target", "max_age_s", "template", "queue", "max_sources", "not_after_s")


def _ladder(ladder: FallbackLadder, at: str) -> Iterator[Fault]:
    for index, rung in enumerate(ladder.rungs):
        here = pointer(at, "rungs", index)
        needed = _NEEDS[rung.type]
        for name in needed:
            if getattr(rung, name) is None:
                yield Fault("missing_field", f"a {rung.type} rung needs {name!r}", pointer(here, name))
        for name in _OWN:
            if getattr(rung, name) is not None and name not in (*needed, *_MAY.get(rung.type, ())):
                yield Fault("unknown_field", f"a {rung.type} rung takes no {name!r}", pointer(here, name))
    present = {rung.type for rung in ladder.rungs}
    for error in ("refusal", "content_filter"):
        action = getattr(ladder.terminal, error)
        if action in {"template", "human_review"} and action not in present:
            here = pointer(at, "terminal", error)
            yield Fault("missing_target", f"the ladder has no {action} rung", here)
