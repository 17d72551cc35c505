"""Evaluation answers every context and every key, and says what was wrong with it."""

import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brownout.evaluation.compile import Compiled
from brownout.evaluation.decision import ErrorCode
from brownout.evaluation.evaluate import Evaluator, evaluate, policy
from brownout.evaluation.trace import explain, trace
from brownout.model.check import check
from brownout.model.faults import InvalidResource
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef, Spec
from sdk.tests.strategies import (
    COHORTS,
    HOSTILE,
    Hostile,
    HostileMapping,
    cohorts,
    contexts,
    flags,
    hostile_contexts,
    json,
)

ROUTE = {
    "type": "model_route",
    "variants": {"v": {"targets": {"t": {"provider": "openai", "model": "m"}}, "primary": "t"}},
    "off_variant": "v",
    "default": {"split": [{"variant": "v", "weight_bp": 10_000}]},
    "rules": [{"id": "r", "if": [{"attribute": "plan", "op": "in", "values": ["pro"]}], "serve": "v"}],
}
ACTIVATION = {
    "profile": "safe",
    "reason": "r",
    "actor": "a",
    "activated_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "scope": {"cohorts": ["staff"]},
}


class Client(Evaluator):
    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled


def environment(flag: Any, cohort: Any) -> dict[ResourceRef, Spec]:
    specs = {
        ("flag", "f"): flag,
        ("flag", "route"): ROUTE,
        ("request_class", "rc"): {"criticality": "sheddable", "model": "route"},
        ("safe_mode_profile", "safe"): {"serve_safe_variant": ["*"], "shed_bp": {"sheddable": 5_000}},
        ("safe_mode_activation", "now"): ACTIVATION,
    } | {("cohort", key): cohort for key in COHORTS}
    return {ResourceRef(*ref): parse(*ref, spec) for ref, spec in specs.items()}


def load(resources: dict[ResourceRef, Spec]) -> Compiled:
    return Compiled.load("e", 3, {ref: encode(spec) for ref, spec in resources.items()})


@given(flags(), cohorts(), contexts)
def test_a_sound_flag_decides_every_json_context_without_an_error(flag: Any, cohort: Any, context: Any) -> None:
    compiled = load(environment(flag, cohort))
    decision = evaluate(compiled, "f", context, default=None)
    assert decision.error_code is None
    assert decision.value == {"value": flag["variants"][decision.variant]["value"]}
    assert trace(compiled, "f", context).decision == decision
    assert explain(trace(compiled, "f", context))
    assert policy(compiled, "rc", context).error_code is None


@given(flags(), cohorts(), hostile_contexts)
@settings(max_examples=200)
def test_hostile_contexts_get_an_answer(flag: Any, cohort: Any, context: Any) -> None:
    compiled = load(environment(flag, cohort))
    decision = evaluate(compiled, "f", context, default="mine")
    assert decision.error_code in {None, ErrorCode.INVALID_CONTEXT}
    if decision.error_code:
        assert (decision.value, decision.variant) == ("mine", None)
    assert policy(compiled, "rc", context).model is not None
    trace(compiled, "f", context)
    client = Client(compiled)
    assert client.boolean("f", context, True) is True
    assert client.decide("f", context, {"my": "default"}).flag == "f"


_mutations = st.sampled_from(["type", "variants", "default", "rules", "off_variant", "safe_variant", "enabled", "new"])


@given(flags(), cohorts(), st.dictionaries(_mutations, json, max_size=2), contexts)
@settings(max_examples=200)
def test_a_spec_is_refused_or_decides_never_neither(
    flag: Any, cohort: Any, changes: dict[str, Any], context: Any
) -> None:
    try:
        resources = environment(flag | changes, cohort)
    except InvalidResource:
        return
    assert check(resources, resources) == ()
    assert evaluate(load(resources), "f", context, default=None).error_code is None


PRO = {
    "type": "boolean",
    "variants": {"on": True, "off": False},
    "off_variant": "off",
    "default": "off",
    "rules": [
        {"id": "text", "if": [{"attribute": "text", "op": "in", "values": ["pro"]}], "serve": "on"},
        {"id": "number", "if": [{"attribute": "number", "op": "lt", "values": [5]}], "serve": "on"},
        {"id": "list", "if": [{"attribute": "list", "op": "contains", "values": ["pro"]}], "serve": "on"},
        {"id": "deep", "if": [{"attribute": "a.b.c", "op": "exists"}], "serve": "on"},
        {"id": "split", "if": [{"attribute": "s", "op": "exists"}], "serve": {"split": [{"variant": "on", "weight_bp": 1}, {"variant": "off", "weight_bp": 9_999}]}},
    ],
}  # fmt: skip


@pytest.fixture
def client() -> Client:
    return Client(load({ResourceRef("flag", "f"): parse("flag", "f", PRO)}))


@pytest.mark.parametrize(
    "context",
    [
        {"text": float("nan")},
        {"number": float("nan")},
        {"number": float("inf")},
        {"text": b"pro"},
        {"text": object()},
        {"text": Hostile()},
        {"text": "x" * 10_000_000},
        {"list": ["x"] * 10_001},
        {"list": [object()]},
        {"list": [float("nan")]},
        {"s": 1, "targeting_key": "x" * 10_000_000},
        {"s": 1, "targeting_key": "\ud800"},
        {"s": 1, "targeting_key": 10**5_000},
        HostileMapping(),
        {"a": HostileMapping()},
        "text",
        5,
        ["text"],
    ],
    ids=lambda value: repr(type(value)),
)
def test_what_json_cannot_carry_gives_the_default_and_invalid_context(client: Client, context: Any) -> None:
    decision = client.decide("f", context, True)
    assert (decision.value, decision.error_code, decision.reason) == (True, "INVALID_CONTEXT", "ERROR")
    assert client.boolean("f", context, True) is True


@pytest.mark.parametrize("index", range(len(HOSTILE)))
def test_what_no_clause_asks_for_does_no_harm(client: Client, index: int) -> None:
    assert client.decide("f", {"unused": HOSTILE[index]}, True).error_code is None


def test_subclasses_of_plain_types_are_read_as_what_they_are(client: Client) -> None:
    class Plan(str):
        __slots__ = ()

    class Age(int):
        pass

    assert client.decide("f", {"text": Plan("pro")}, False).rule == "text"
    assert client.decide("f", {"number": Age(4)}, False).rule == "number"
    assert client.decide("f", {"list": ("pro",)}, False).rule == "list"
    assert client.decide("f", {"list": {"pro"}}, False).rule == "list"


def test_as_many_clauses_as_a_rule_may_have_still_decide() -> None:
    clauses = [{"attribute": f"a{n}", "op": "in", "values": ["x"]} for n in range(64)]
    flag = {**PRO, "rules": [{"id": "many", "if": [*clauses[1:], {"op": "in_cohort", "values": ["c"]}], "serve": "on"}]}
    client = Client(load({
        ResourceRef("flag", "f"): parse("flag", "f", flag),
        ResourceRef("cohort", "c"): parse("cohort", "c", {"any_of": [clauses]}),
    }))  # fmt: skip
    assert client.decide("f", {f"a{n}": "x" for n in range(64)}, False).rule == "many"
    with pytest.raises(InvalidResource) as refused:
        parse("flag", "f", {**PRO, "rules": [{"id": "more", "if": clauses * 2, "serve": "on"}]})
    assert refused.value.faults[0].pointer == "/rules/0/if"
    with pytest.raises(InvalidResource):
        parse("cohort", "c", {"any_of": [clauses * 2]})


def test_any_key_gets_an_answer(client: Client) -> None:
    keys: list[Any] = [None, 5, [], {}, Hostile(), "", "x" * 1_000_000, "\ud800", ("flag", "f")]
    for key in keys:
        decision = client.decide(key, {}, "mine")
        assert decision.value == "mine"
        assert decision.error_code in {"FLAG_NOT_FOUND", "GENERAL"}
        assert client.string(key, {}, "mine") == "mine"
        assert client.policy(key, {}).error_code in {"FLAG_NOT_FOUND", "GENERAL"}


def test_no_context_is_an_empty_one(client: Client) -> None:
    assert client.decide("f", None, True) == client.decide("f", {}, True)  # type: ignore[arg-type]
    assert client.boolean("f", default=True) is False
    assert client.policy("rc", None).error_code == "FLAG_NOT_FOUND"  # type: ignore[arg-type]


def test_a_stack_without_room_gives_the_default(client: Client) -> None:
    answers: list[bool] = []

    def descend(depth: int) -> None:
        answers.append(client.boolean("f", {"text": "pro"}, False))
        if depth:
            descend(depth - 1)

    def run() -> None:
        try:
            descend(sys.getrecursionlimit())
        except RecursionError:
            answers.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert answers[0] is True
    assert client.boolean("f", {"text": "pro"}, False) is True


def test_a_spec_from_a_newer_control_plane_is_a_parse_error_of_that_flag_alone(client: Client) -> None:
    newer = encode(parse("flag", "f", PRO)).replace(b'"type"', b'"newer":1,"type"')
    good = encode(parse("flag", "f", PRO))
    unknown_cohort = {**PRO, "rules": [{"id": "r", "if": [{"op": "in_cohort", "values": ["gone"]}], "serve": "on"}]}
    compiled = Compiled.load(
        "e",
        1,
        {
            ResourceRef("flag", "newer"): newer,
            ResourceRef("flag", "garbage"): b"\xff{",
            ResourceRef("flag", "dangling"): encode(parse("flag", "f", unknown_cohort)),
            ResourceRef("flag", "good"): good,
            ResourceRef("request_class", "bad"): b"{}",
        },
    )
    for key in ("newer", "garbage", "dangling"):
        decision = evaluate(compiled, key, {}, default="mine")
        assert (decision.value, decision.error_code) == ("mine", "PARSE_ERROR")
    assert evaluate(compiled, "good", {}, default=None).error_code is None
    assert policy(compiled, "bad").error_code == "PARSE_ERROR"
