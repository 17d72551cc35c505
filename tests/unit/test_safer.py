"""What is called only safer never loosens a policy, for any context."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from brownout.evaluation.compile import Compiled
from brownout.evaluation.policy import Policy, PolicyLadder
from brownout.model.faults import InvalidResource
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from controlplane.configuration.safer import objections
from controlplane.configuration.store.values import Change

TOOLS = ("search", "Shell", "mail")
SENSITIVE = ("continue", "human_review", "stop")
CONTEXTS = ({}, *({"targeting_key": f"u{unit}", "plan": plan} for unit in range(6) for plan in ("free", "pro")))

globs = st.lists(st.sampled_from(["search", "shell", "MAIL", "*"]), max_size=2)
limit = st.none() | st.sampled_from([10, 20])


WAITS = ("first_token_ms", "stall_ms", "attempt_ms")
RUNG_LIMITS = {"cache": "max_age_s", "later": "not_after_s", "evidence": "max_sources"}


def is_sound(spec: dict[str, Any]) -> bool:
    try:
        parse("flag", "f", spec)
    except InvalidResource:
        return False
    return True


def without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {name: member for name, member in value.items() if member is not None}


tools = st.fixed_dictionaries({"include": globs, "exclude": globs, "require_approval": globs, "max_calls": limit}).map(
    without_none
)
budgets = st.fixed_dictionaries(
    {"per_request": st.fixed_dictionaries({"max_output_tokens": limit, "max_input_tokens": limit}).map(without_none)}
)
retries = st.fixed_dictionaries(
    {"max_attempts": st.integers(1, 3), "retry_after_max_ms": st.sampled_from([0, 2_000, 9_000])}
)
prices = st.fixed_dictionaries(
    {name: st.sampled_from([1, 2]) for name in ("input_usd_per_million", "output_usd_per_million")}
)
targets = st.fixed_dictionaries(
    {
        "provider": st.sampled_from(["one", "two"]),
        "model": st.sampled_from(["m", "n"]),
        "params": st.fixed_dictionaries({"max_output_tokens": limit}).map(without_none),
        "max_context_tokens": st.none() | st.sampled_from([1_000, 2_000]),
        "price": st.none() | prices,
        **dict.fromkeys(WAITS, limit),
    }
).map(without_none)
routes = st.dictionaries(st.sampled_from(["big", "small"]), targets, min_size=1, max_size=2).flatmap(
    lambda found: st.sampled_from(sorted(found)).map(lambda primary: {"targets": found, "primary": primary})
)
errors = st.lists(st.sampled_from(["timeout", "refusal", "content_filter"]), max_size=2, unique=True)
rungs = st.one_of(
    st.fixed_dictionaries({"type": st.just("model"), "target": st.sampled_from(["big", "small"]), "on": errors}),
    st.fixed_dictionaries({"type": st.just("cache"), "max_age_s": limit, "on": errors}).map(without_none),
    st.fixed_dictionaries({"type": st.just("later"), "not_after_s": limit, "template": st.just("t")}).map(without_none),
    st.fixed_dictionaries({"type": st.just("evidence"), "max_sources": limit, "template": st.just("t")}).map(
        without_none
    ),
    st.just({"type": "human_review", "queue": "q"}),
)
endings = st.sampled_from(["stop", "surface"])
ladders = (
    st.fixed_dictionaries(
        {
            "rungs": st.lists(rungs, max_size=3),
            "terminal": st.fixed_dictionaries({"refusal": endings, "content_filter": endings}),
            "deadline_ms": limit,
            "on_break": st.sampled_from(["surface", "restart"]),
        }
    )
    .map(without_none)
    .filter(
        lambda ladder: is_sound(
            {"type": "fallback_ladder", "variants": {"a": ladder}, "off_variant": "a", "default": "a"}
        )
    )
)
KINDS = {
    "fallback_ladder": ladders,
    "tool_policy": tools,
    "token_budget": budgets,
    "retry_policy": retries,
    "model_route": routes,
}
NAMES = ("a", "b")
serves = st.sampled_from(NAMES) | st.just(
    {"split": [{"variant": "a", "weight_bp": 5000}, {"variant": "b", "weight_bp": 5000}]}
)


def flags(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    rule = serves.map(
        lambda serve: {"id": "r", "if": [{"op": "in", "attribute": "plan", "values": ["pro"]}], "serve": serve}
    )
    return st.fixed_dictionaries(
        {
            "type": st.just(kind),
            "variants": st.fixed_dictionaries(dict.fromkeys(NAMES, KINDS[kind])),
            "off_variant": st.sampled_from(NAMES),
            "default": serves,
            "enabled": st.sampled_from([True, True, False]),
            "rules": st.lists(rule, max_size=1),
            "safe_variant": st.none() | st.sampled_from(NAMES),
        }
    ).map(without_none)


profiles = st.fixed_dictionaries(
    {
        "exclude_tools": globs,
        "exclude_targets": st.lists(st.sampled_from(["big", "SMALL"]), max_size=1),
        "exclude_providers": st.lists(st.sampled_from(["one", "two"]), max_size=1),
        "max_output_tokens": limit,
        "max_attempts": st.none() | st.integers(1, 2),
        "sensitive": st.sampled_from(SENSITIVE),
        "serve_safe_variant": st.sampled_from([[], ["*"]]),
        "shed_bp": st.dictionaries(st.just("critical"), st.sampled_from([0, 5000, 10_000])),
    }
).map(without_none)
STRATEGIES = {ResourceRef("flag", kind): flags(kind) for kind in KINDS} | {
    ResourceRef("safe_mode_profile", "p"): profiles
}
FIXED = {
    ResourceRef("request_class", "reply"): {
        "criticality": "critical", "sensitive": True, "model": "model_route", "ladder": "fallback_ladder",
        "budget": "token_budget", "tools": "tool_policy", "retry": "retry_policy",
    },
    ResourceRef("response_template", "t"): {"text": "Later."},
    ResourceRef("safe_mode_activation", "on"): {
        "profile": "p", "reason": "incident", "actor": "ada", "activated_at": "2030-01-01T00:00:00Z",
        "expires_at": "2100-01-01T00:00:00Z",
    },
}  # fmt: skip


def canonical(ref: ResourceRef, spec: dict[str, Any]) -> bytes:
    return encode(parse(ref.kind, ref.key, spec))


def leaves(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path
        return
    for key, inner in items:
        yield from leaves(inner, *path, key)


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def one_leaf(draw: st.DrawFn, now: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """`now` with a single number or word of `other`'s, or without one."""
    changed: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(now))
    paths = sorted({*leaves(now), *leaves(other)}, key=repr)
    paths = [path for path in paths if len(path) > 1 and at(now, path) != at(other, path)]
    if not paths:
        return changed
    path = draw(st.sampled_from(paths))
    holder, value = at(changed, path[:-1]), at(other, path)
    if isinstance(holder, list):
        holder[path[-1] :] = [] if value is None else [value]
    elif isinstance(holder, dict) and value is None:
        holder.pop(path[-1], None)
    elif isinstance(holder, dict):
        holder[path[-1]] = value
    return changed


@st.composite
def changes(draw: st.DrawFn) -> tuple[dict[ResourceRef, bytes], dict[ResourceRef, bytes]]:
    """A whole environment, and what it becomes: one resource changes as a whole, or a part of it."""
    before = {ref: draw(strategy) for ref, strategy in STRATEGIES.items()}
    ref = draw(st.sampled_from(list(STRATEGIES)))
    other, now = draw(STRATEGIES[ref]), dict(before[ref])
    for name in draw(st.sets(st.sampled_from(sorted({*other, *now})), min_size=1, max_size=2)):
        now.pop(name, None)
        if name in other:
            now[name] = other[name]
    if draw(st.booleans()) and ref.kind == "flag":  # one variant only
        now = {**before[ref], "variants": {**before[ref]["variants"], "b": other["variants"]["b"]}}
    if draw(st.booleans()) and ref.kind == "flag":
        now = {**before[ref], "default": draw(st.sampled_from(NAMES))}
    if draw(st.booleans()):
        now = one_leaf(draw, before[ref], other)
        assume(ref.kind != "flag" or is_sound(now))
    if draw(st.booleans()):  # safe mode is off
        fixed = {ref: spec for ref, spec in FIXED.items() if ref.kind != "safe_mode_activation"}
    else:
        fixed = FIXED
    state = {one: canonical(one, spec) for one, spec in (fixed | before).items()}
    return state, state | {ref: canonical(ref, now)}


def policy(state: dict[ResourceRef, bytes], context: dict[str, Any]) -> Policy:
    return Compiled("e", 1, state).policy("reply", context)


def rises(before: int | None, after: int | None) -> bool:
    return before is not None and (after is None or after > before)


def names_of(state: dict[ResourceRef, bytes]) -> dict[tuple[str, str], set[str]]:
    flag = msgspec.json.decode(state[ResourceRef("flag", "model_route")])
    found: dict[tuple[str, str], set[str]] = {}
    for variant in flag["variants"].values():
        for name, target in variant["targets"].items():
            found.setdefault((target["provider"], target["model"]), set()).add(name)
    return found


def assert_no_looser(was: Policy, now: Policy) -> None:
    for tool in TOOLS:
        assert was.tools.allows(tool) or not now.tools.allows(tool)
        if was.tools.needs_approval(tool) and now.tools.allows(tool):
            assert now.tools.needs_approval(tool)
    assert not rises(was.tools.max_calls, now.tools.max_calls)
    assert not rises(was.budget.per_request.max_output_tokens, now.budget.per_request.max_output_tokens)
    assert not rises(was.budget.per_request.max_input_tokens, now.budget.per_request.max_input_tokens)
    assert now.retry.max_attempts <= was.retry.max_attempts
    assert now.shed_bp >= was.shed_bp
    assert SENSITIVE.index(now.sensitive) >= SENSITIVE.index(was.sensitive)
    assert now.retry.retry_after_max_ms <= was.retry.retry_after_max_ms
    if was.model is not None and now.model is not None:
        assert not rises(was.model.params.max_output_tokens, now.model.params.max_output_tokens)
        assert not rises(was.model.max_context_tokens, now.model.max_context_tokens)
        for field in WAITS:
            assert not rises(getattr(was.model, field), getattr(now.model, field))
        if was.model.price is not None and (was.model.provider, was.model.model) == (
            now.model.provider,
            now.model.model,
        ):
            assert now.model.price is not None, "what costs nothing spends nothing of a budget in money"
            assert now.model.price.input_usd_per_million >= was.model.price.input_usd_per_million
            assert now.model.price.output_usd_per_million >= was.model.price.output_usd_per_million
    assert_no_looser_ladder(was.ladder, now.ladder)


def assert_no_looser_ladder(was: PolicyLadder, now: PolicyLadder) -> None:
    assert not rises(was.deadline_ms, now.deadline_ms)
    assert was.on_break == "restart" or now.on_break == "surface"
    for error in ("refusal", "content_filter"):
        assert getattr(now.terminal, error) in {getattr(was.terminal, error), "stop"}
    for kind, field in RUNG_LIMITS.items():
        before, after = ([getattr(rung.rung, field) for rung in one.rungs if rung.type == kind] for one in (was, now))
        if after:
            assert before
            assert None in before or (None not in after and max(after) <= max(before))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(changes())
def test_what_is_called_safer_loosens_no_policy_of_any_context(
    found: tuple[dict[ResourceRef, bytes], dict[ResourceRef, bytes]],
) -> None:
    before, after = found
    changed = [Change(*ref, before[ref], after[ref]) for ref in before if before[ref] != after[ref]]
    if objections(changed, [change.ref for change in changed]):
        event("objected")
        return
    event("called safer" if changed else "unchanged")
    compiled = Compiled("e", 1, before), Compiled("e", 1, after)
    profile = msgspec.json.decode(before[ResourceRef("safe_mode_profile", "p")])
    on = ResourceRef("safe_mode_activation", "on") in before
    for context in CONTEXTS:
        was, now = (one.policy("reply", context) for one in compiled)
        assert_no_looser(was, now)
        if on and now.model is not None:
            assert now.model.provider not in profile.get("exclude_providers", ())
            assert now.model.name.casefold() not in map(str.casefold, profile.get("exclude_targets", ()))


@given(st.data(), st.sampled_from(sorted(KINDS)))
def test_nothing_is_safer_that_was_never_approved(data: st.DataObject, kind: str) -> None:
    ref = ResourceRef("flag", kind)
    one, other = (canonical(ref, data.draw(flags(kind))) for _ in range(2))
    if one != other:
        assert objections([Change(*ref, one, other)], ())


@pytest.mark.parametrize(("was", "now"), [([], ["*"]), ([], ["search"]), (["search"], []), (["search"], ["*"])])
def test_a_safe_variant_may_allow_more_than_what_it_replaces(was: list[str], now: list[str]) -> None:
    ref = ResourceRef("safe_mode_profile", "p")
    before, after = (canonical(ref, {"serve_safe_variant": flags}) for flags in (was, now))
    assert objections([Change(*ref, before, after)], [ref]) == ["safe mode profile p changes serve_safe_variant"]
