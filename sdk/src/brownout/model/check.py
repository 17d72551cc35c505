"""What must be true between resources: references, and that the flags of a request class fit together."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar

import msgspec

from brownout.model.faults import Fault, pointer
from brownout.model.resources import (
    Clause,
    Cohort,
    Flag,
    RequestClass,
    ResourceRef,
    Rollout,
    SafeModeActivation,
    SafeModeProfile,
    Spec,
)
from brownout.model.values import FallbackLadder, ModelRoute, TokenBudget

Resources = Mapping[ResourceRef, Spec]

_GOVERNORS = {
    "model": "model_route",
    "ladder": "fallback_ladder",
    "budget": "token_budget",
    "tools": "tool_policy",
    "retry": "retry_policy",
}
"""The fields of a request class and the flag type each asks for."""


def references(spec: Spec) -> frozenset[ResourceRef]:
    """Every resource that `spec` names; the dependants index is this, turned around."""
    return frozenset(ref for _, ref in _named(spec))


def check(resources: Resources, touched: Iterable[ResourceRef], *, now: datetime | None = None) -> tuple[Fault, ...]:
    """Faults between resources, for `touched` alone: what changed and what refers to it (one step is enough).

    `resources` is the environment as it would be; a touched ref that is missing from it was deleted. Given
    `now`, a touched activation that has already expired is a fault too.
    """
    found: list[Fault] = []
    for ref in dict.fromkeys(touched):
        spec = resources.get(ref)
        if spec is not None:
            found += [
                msgspec.structs.replace(fault, kind=ref.kind, key=ref.key) for fault in _faults(resources, spec, now)
            ]
    return tuple(found)


def _named(spec: Spec) -> Iterator[tuple[str, ResourceRef]]:
    """Pairs of the pointer at which a resource is named, and the resource."""
    match spec:
        case Flag():
            for index, rule in enumerate(spec.rules):
                yield from _cohorts(rule.when, pointer("/rules", index, "if"))
            for name, value in spec.variants.items():
                if isinstance(value, FallbackLadder):
                    for index, rung in enumerate(value.rungs):
                        if rung.template is not None:
                            at = pointer("/variants", name, "rungs", index, "template")
                            yield at, ResourceRef("response_template", rung.template)
        case Cohort():
            for index, clauses in enumerate(spec.any_of):
                yield from _cohorts(clauses, pointer("/any_of", index))
        case RequestClass():
            for field in _GOVERNORS:
                key = getattr(spec, field)
                if key is not None:
                    yield "/" + field, ResourceRef("flag", key)
        case SafeModeProfile():
            for index, key in enumerate(spec.serve_safe_variant):
                if key != "*":
                    yield pointer("/serve_safe_variant", index), ResourceRef("flag", key)
        case SafeModeActivation():
            yield "/profile", ResourceRef("safe_mode_profile", spec.profile)
            for index, key in enumerate(spec.scope.request_classes):
                yield pointer("/scope/request_classes", index), ResourceRef("request_class", key)
            for index, key in enumerate(spec.scope.cohorts):
                yield pointer("/scope/cohorts", index), ResourceRef("cohort", key)
        case Rollout():
            yield "/flag", ResourceRef("flag", spec.flag)
            for index, stage in enumerate(spec.stages):
                if stage.cohort is not None:
                    yield pointer("/stages", index, "cohort"), ResourceRef("cohort", stage.cohort)
            for index, guardrail in enumerate(spec.guardrails):
                if guardrail.profile is not None:
                    yield pointer("/guardrails", index, "profile"), ResourceRef("safe_mode_profile", guardrail.profile)


def _cohorts(clauses: tuple[Clause, ...], at: str) -> Iterator[tuple[str, ResourceRef]]:
    for index, clause in enumerate(clauses):
        if clause.op == "in_cohort":
            for position, key in enumerate(clause.values):
                yield pointer(at, index, "values", position), ResourceRef("cohort", str(key))


def _faults(resources: Resources, spec: Spec, now: datetime | None) -> Iterator[Fault]:
    for at, ref in _named(spec):
        if ref not in resources:
            yield Fault("unknown_reference", f"there is no {ref.kind} {ref.key!r}", at)
    match spec:
        case RequestClass():
            yield from _request_class(resources, spec)
        case SafeModeProfile():
            for index, key in enumerate(spec.serve_safe_variant):
                flag = resources.get(ResourceRef("flag", key))
                if isinstance(flag, Flag) and flag.safe_variant is None:
                    at = pointer("/serve_safe_variant", index)
                    yield Fault("unknown_variant", f"the flag {key!r} has no safe variant", at)
        case SafeModeActivation() if now is not None and spec.expires_at <= now:
            yield Fault("expired", f"expired at {spec.expires_at.isoformat()}", "/expires_at")
        case Rollout():
            flag = resources.get(ResourceRef("flag", spec.flag))
            for field in ("control", "treatment"):
                variant = getattr(spec, field)
                if isinstance(flag, Flag) and variant not in flag.variants:
                    yield Fault("unknown_variant", f"the flag {spec.flag!r} has no variant {variant!r}", "/" + field)


def _request_class(resources: Resources, spec: RequestClass) -> Iterator[Fault]:
    flags: dict[str, Flag] = {}
    for field, wanted in _GOVERNORS.items():
        flag = resources.get(ResourceRef("flag", getattr(spec, field) or ""))
        if not isinstance(flag, Flag):
            continue
        flags[field] = flag
        if flag.type != wanted:
            message = f"{getattr(spec, field)!r} is a {flag.type} flag, not {wanted}"
            yield Fault("wrong_reference_type", message, "/" + field)
    routes = _variants(flags, "model", ModelRoute)
    for ladder_name, ladder in _variants(flags, "ladder", FallbackLadder).items():
        for rung in ladder.rungs:
            for route_name, route in routes.items():
                if rung.target is not None and rung.target not in route.targets:
                    message = f"variant {ladder_name!r} names target {rung.target!r}, which route {route_name!r} lacks"
                    yield Fault("missing_target", message, "/ladder")
    for budget_name, budget in _variants(flags, "budget", TokenBudget).items():
        asked = (budget.per_request.max_input_tokens or 0) + (budget.per_request.max_output_tokens or 0)
        for route_name, route in routes.items():
            primary = route.targets.get(route.primary)
            window = primary.max_context_tokens if primary else None
            if window is not None and asked > window:
                message = f"variant {budget_name!r} asks {asked:,} tokens, route {route_name!r} has {window:,}"
                yield Fault("over_window", message, "/budget")


_V = TypeVar("_V")


def _variants(flags: Mapping[str, Flag], field: str, struct: type[_V]) -> dict[str, _V]:
    flag = flags.get(field)
    values = flag.variants.items() if flag else ()
    return {name: value for name, value in values if isinstance(value, struct)}
