"""What each kind of resource names, and what must be true of that: that the flags of a request class fit together."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TypeVar, get_args

from brownout.model.faults import Fault, pointer
from brownout.model.operating import FailureMode
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
from brownout.model.values import ErrorClass, FallbackLadder, ModelRoute, TokenBudget

Resources = Mapping[ResourceRef, Spec]
Named = Iterator[tuple[str, ResourceRef]]
"""Pairs of the pointer at which a resource is named, and the resource."""

GOVERNORS = {
    "model": "model_route",
    "ladder": "fallback_ladder",
    "budget": "token_budget",
    "tools": "tool_policy",
    "retry": "retry_policy",
    "prompt": "prompt",
}
"""The fields of a request class and the flag type each asks for."""


def of_flag(spec: Flag) -> Named:
    for index, rule in enumerate(spec.rules):
        yield from _cohorts(rule.when, pointer("/rules", index, "if"))
    for name, value in spec.variants.items():
        if isinstance(value, FallbackLadder):
            for index, rung in enumerate(value.rungs):
                if rung.template is not None:
                    at = pointer("/variants", name, "rungs", index, "template")
                    yield at, ResourceRef("response_template", rung.template)


def of_cohort(spec: Cohort) -> Named:
    for index, clauses in enumerate(spec.any_of):
        yield from _cohorts(clauses, pointer("/any_of", index))


def of_request_class(spec: RequestClass) -> Named:
    for field in GOVERNORS:
        key = getattr(spec, field)
        if key is not None:
            yield "/" + field, ResourceRef("flag", key)
    if spec.tier is not None:
        yield "/tier", ResourceRef("service_tier", spec.tier)


def of_failure_mode(spec: FailureMode) -> Named:
    if spec.profile is not None:
        yield "/profile", ResourceRef("safe_mode_profile", spec.profile)
    for index, key in enumerate(spec.classes):
        yield pointer("/classes", index), ResourceRef("request_class", key)
    for index, accepted in enumerate(spec.accepted):
        yield pointer("/accepted", index, "request_class"), ResourceRef("request_class", accepted.request_class)


def of_profile(spec: SafeModeProfile) -> Named:
    for index, key in enumerate(spec.serve_safe_variant):
        if key != "*":
            yield pointer("/serve_safe_variant", index), ResourceRef("flag", key)


def of_activation(spec: SafeModeActivation) -> Named:
    yield "/profile", ResourceRef("safe_mode_profile", spec.profile)
    for index, key in enumerate(spec.scope.request_classes):
        yield pointer("/scope/request_classes", index), ResourceRef("request_class", key)
    for index, key in enumerate(spec.scope.cohorts):
        yield pointer("/scope/cohorts", index), ResourceRef("cohort", key)


def of_rollout(spec: Rollout) -> Named:
    yield "/flag", ResourceRef("flag", spec.flag)
    for index, stage in enumerate(spec.stages):
        if stage.cohort is not None:
            yield pointer("/stages", index, "cohort"), ResourceRef("cohort", stage.cohort)
    for index, guardrail in enumerate(spec.guardrails):
        if guardrail.profile is not None:
            yield pointer("/guardrails", index, "profile"), ResourceRef("safe_mode_profile", guardrail.profile)


def flag_fits(_resources: Resources, spec: Flag, _now: datetime | None) -> Iterator[Fault]:
    """A rung is unreachable after one that always succeeds where it would be tried. The terminal actions use the ladder's
    first rung of their type, which is no reason to refuse it."""
    for name, value in spec.variants.items():
        rungs = value.rungs if isinstance(value, FallbackLadder) else ()
        answered: set[ErrorClass] = set()
        named = {value.terminal.refusal, value.terminal.content_filter} if isinstance(value, FallbackLadder) else set()
        for index, rung in enumerate(rungs):
            errors = {error for error in get_args(ErrorClass) if rung.follows(error)}
            if errors <= answered and rung.type not in named:
                at = pointer("/variants", name, "rungs", index)
                yield Fault("unreachable", "the rungs before it answer every error that leads to it", at)
            if rung.always_succeeds:
                answered |= errors


def profile_fits(resources: Resources, spec: SafeModeProfile, _now: datetime | None) -> Iterator[Fault]:
    for index, key in enumerate(spec.serve_safe_variant):
        flag = resources.get(ResourceRef("flag", key))
        if isinstance(flag, Flag) and flag.safe_variant is None:
            yield Fault(
                "unknown_variant", f"the flag {key!r} has no safe variant", pointer("/serve_safe_variant", index)
            )


def activation_fits(_resources: Resources, spec: SafeModeActivation, now: datetime | None) -> Iterator[Fault]:
    if now is not None and spec.expires_at <= now:
        yield Fault("expired", f"expired at {spec.expires_at.isoformat()}", "/expires_at")


def rollout_fits(resources: Resources, spec: Rollout, _now: datetime | None) -> Iterator[Fault]:
    flag = resources.get(ResourceRef("flag", spec.flag))
    for field in ("control", "treatment"):
        variant = getattr(spec, field)
        if isinstance(flag, Flag) and variant not in flag.variants:
            yield Fault("unknown_variant", f"the flag {spec.flag!r} has no variant {variant!r}", "/" + field)


def request_class_fits(resources: Resources, spec: RequestClass, _now: datetime | None) -> Iterator[Fault]:
    flags: dict[str, Flag] = {}
    for field, wanted in GOVERNORS.items():
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
            unpriced = [name for name, each in route.targets.items() if each.price is None]
            if budget.window is not None and budget.window.unit == "usd_micros" and unpriced:
                message = f"variant {budget_name!r} counts money, and route {route_name!r} has no price for "
                yield Fault("missing_price", message + ", ".join(unpriced), "/budget")


_V = TypeVar("_V")


def _variants(flags: Mapping[str, Flag], field: str, struct: type[_V]) -> dict[str, _V]:
    flag = flags.get(field)
    values = flag.variants.items() if flag else ()
    return {name: value for name, value in values if isinstance(value, struct)}


def _cohorts(clauses: tuple[Clause, ...], at: str) -> Iterator[tuple[str, ResourceRef]]:
    for index, clause in enumerate(clauses):
        if clause.op == "in_cohort":
            for position, key in enumerate(clause.values):
                yield pointer(at, index, "values", position), ResourceRef("cohort", str(key))
