"""Flags evaluated alone under safe mode: as strict as the policy, free of charge without it, and restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.evaluation import compile as compiling
from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate, policy
from brownout.model.parse import encode
from brownout.model.resources import Flag, RequestClass, ResourceRef, SafeModeActivation, SafeModeProfile, Scope, Spec
from brownout.model.values import ModelParams, ModelRoute, Target, ToolPolicy
from brownout.wire import Operation

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROUTE = ModelRoute(
    {"main": Target("anthropic", "big", ModelParams(temperature=0.9)), "spare": Target("openai", "mid")}, "main"
)
ON = ResourceRef("safe_mode_activation", "on")


def environment(profile: SafeModeProfile, scope: Scope = Scope()) -> dict[ResourceRef, Spec]:  # noqa: B008
    return {
        ResourceRef("flag", "route"): Flag("model_route", {"v": ROUTE}, "v", "v"),
        ResourceRef("flag", "tools"): Flag("tool_policy", {"t": ToolPolicy(exclude=("shell",))}, "t", "t"),
        ResourceRef("request_class", "reply"): RequestClass("critical", "route"),
        ResourceRef("safe_mode_profile", "p"): profile,
        ON: SafeModeActivation("p", "why", "ada", NOW, NOW + timedelta(hours=1), scope),
    }


def load(specs: dict[ResourceRef, Spec]) -> Compiled:
    return Compiled.load("production", 1, {ref: encode(spec) for ref, spec in specs.items()})


def route(compiled: Compiled) -> Any:
    return evaluate(compiled, "route", {}, default=None).value


@given(
    st.builds(
        SafeModeProfile,
        exclude_providers=st.sampled_from([(), ("anthropic",), (" OpenAI",), ("*",)]),
        exclude_targets=st.sampled_from([(), ("MAIN",), ("spare",), ("*",)]),
        max_temperature=st.sampled_from([None, 0.1, 1.5]),
        max_context_tokens=st.sampled_from([None, 100]),
        max_output_tokens=st.sampled_from([None, 5]),
    )
)
def test_a_route_alone_is_never_wider_than_the_policy(profile: SafeModeProfile) -> None:
    compiled = load(environment(profile))
    alone, under = route(compiled), policy(compiled, "reply", {})
    if under.model is not None:
        first = alone.targets[alone.primary]
        assert (first.provider, first.model, first.params, first.max_context_tokens) == (
            under.model.provider, under.model.model, under.model.params, under.model.max_context_tokens,
        )  # fmt: skip
    excluded = {name.strip().lower() for name in (*profile.exclude_providers, *profile.exclude_targets)}
    for name, target in alone.targets.items() if alone else ():
        assert not excluded & {name, target.provider, "*"}


def test_an_activation_comes_and_goes_for_a_flag_that_was_evaluated_before() -> None:
    specs = environment(SafeModeProfile(exclude_providers=("anthropic",)))
    activation = specs.pop(ON)
    compiled = load(specs)
    assert route(compiled).primary == "main"
    compiled.apply([Operation("put", *ON, msgspec.Raw(encode(activation)))], 2)
    assert route(compiled).primary == "spare"
    compiled.set_now(NOW + timedelta(hours=2))
    assert route(compiled).primary == "main"
    compiled.set_now(NOW)
    assert route(compiled).primary == "spare"
    compiled.apply([Operation("del", *ON)], 3)
    assert route(compiled) == ROUTE


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    wrapped: list[str] = []
    real = compiling.under_safe_mode
    monkeypatch.setattr(compiling, "under_safe_mode", lambda flag, *args: wrapped.append(flag.key) or real(flag, *args))
    yield wrapped


def test_nothing_stands_before_a_flag_while_no_activation_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = load(environment(SafeModeProfile(exclude_providers=("anthropic",))))
    with counted(monkeypatch) as wrapped:
        compiled.set_now(NOW + timedelta(hours=2))
        route(compiled)
        assert wrapped == []
        compiled.set_now(NOW)
        for _ in range(3):
            route(compiled)
        assert wrapped == ["route"]


def test_one_way_to_turn_out_is_made_once_and_counted() -> None:
    compiled = load(environment(SafeModeProfile(exclude_providers=("anthropic",))))
    for service in ("a", "b", "a"):
        assert evaluate(compiled, "route", {}, default=None, service=service).value.primary == "spare"
    counts = compiled.drain_counts()
    assert sum(counts.flags.values()) == 3


def test_tools_are_excluded_from_a_policy_of_tools_alone() -> None:
    compiled = load(environment(SafeModeProfile(exclude_tools=("refund*",))))
    assert evaluate(compiled, "tools", {}, default=None).value == ToolPolicy(exclude=("refund*", "shell"))
