"""What the LLM values can be asked, response templates, and the prose of a trace."""

import json

import pytest

from brownout.evaluation.compile import Compiled
from brownout.evaluation.trace import explain, trace, trace_cohort
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from brownout.model.template import placeholders, render
from brownout.model.values import FallbackLadder, Rung, ToolPolicy, matches_glob


@pytest.mark.parametrize(
    ("glob", "fits", "does_not"),
    [
        ("shell", ["shell"], ["shell2", "", "Shell"]),
        ("*", ["", "anything"], []),
        ("web-*", ["web-", "web-search"], ["web", "a-web-"]),
        ("*-search", ["-search", "web-search"], ["search"]),
        ("a*b*c", ["abc", "a-b-c", "abbc"], ["ac", "acb", "ab"]),
        ("ab*ba", ["abba", "ab--ba"], ["aba"]),
        ("a**b", ["ab", "a-b"], ["a"]),
        ("[a].?", ["[a].?"], ["a.x"]),
    ],
)
def test_only_the_star_is_special_in_a_glob(glob: str, fits: list[str], does_not: list[str]) -> None:
    assert [name for name in fits + does_not if matches_glob(glob, name)] == fits


def test_excluding_a_tool_wins() -> None:
    tools = ToolPolicy(include=("web-*", "mail"), exclude=("web-write",), require_approval=("mail*",))
    assert [tools.allows(name) for name in ("web-search", "mail", "web-write", "shell")] == [True, True, False, False]
    assert tools.needs_approval("mail")
    assert not ToolPolicy(include=()).allows("mail")
    assert ToolPolicy().allows("anything")


def test_a_refusal_reaches_a_model_rung_only_by_name() -> None:
    model, willing = Rung("model", target="a"), Rung("model", target="b", on=("refusal",))
    template = Rung("template", template="sorry")
    ladder = FallbackLadder((model, willing, template))
    assert ladder.after("timeout") == (model, template)
    assert ladder.after("refusal") == (willing, template)
    assert ladder.after("content_filter") == (template,)


def test_templates_are_filled_by_name_alone() -> None:
    text = "Dear {name}, {{not}} {missing}{name}!"
    assert placeholders(text) == ("name", "missing")
    assert render(text, {"name": "{name}"}) == "Dear {name}, {not} {name}!"


def test_a_trace_reads_like_a_story() -> None:
    rules = [
        {"id": "staff", "if": [{"attribute": "staff", "op": "in", "values": [True]}], "serve": "on"},
        {"id": "pro", "if": [{"attribute": "plan", "op": "in", "values": ["pro"]}, {"attribute": "age", "op": "lt", "values": [18], "negate": True}], "serve": "on"},
    ]  # fmt: skip
    spec = {
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "off_variant": "off",
        "default": "off",
        "rules": rules,
    }
    compiled = Compiled.load("e", 4, {ResourceRef("flag", "f"): encode(parse("flag", "f", spec))})
    assert explain(trace(compiled, "f", {"plan": "pro", "age": 18})).splitlines() == [
        "f: true (variant on) at revision 4",
        "  rule staff: did not match",
        "    staff in true: unknown",
        "  rule pro: served",
        '    plan in "pro": held',
        "    age not lt 18: held",
    ]
    assert explain(trace(compiled, "f", {"plan": "free"})).endswith("no rule matched; the default served")
    assert explain(trace(compiled, "nope")) == "nope: the caller's default, because of FLAG_NOT_FOUND"
    assert "staff in true: invalid" in explain(trace(compiled, "f", {"staff": object()}))


def test_a_trace_shows_an_llm_value_as_its_json() -> None:
    route = {"targets": {"small": {"provider": "openai", "model": "mini"}}, "primary": "small"}
    spec = {"type": "model_route", "variants": {"a": route}, "off_variant": "a", "default": "a"}
    compiled = Compiled.load("e", 4, {ResourceRef("flag", "f"): encode(parse("flag", "f", spec))})
    first, _ = explain(trace(compiled, "f")).splitlines()
    shown = first.removeprefix("f: ").removesuffix(" (variant a) at revision 4")
    assert json.loads(shown) == route


COHORT = {
    "by": "user",
    "include": ["u-1", "u-3"],
    "exclude": ["u-2", "u-3"],
    "any_of": [
        [{"attribute": "plan", "op": "in", "values": ["beta"]}, {"attribute": "age", "op": "gte", "values": [18]}],
        [{"attribute": "staff", "op": "exists", "values": []}],
    ],
}


@pytest.mark.parametrize(
    ("context", "belongs", "because", "matched"),
    [
        ({"user": "u-1"}, True, "included", None),
        ({"user": "u-2", "plan": "beta", "age": 20}, False, "excluded", None),
        ({"user": "u-3"}, False, "excluded", None),
        ({"user": "u-9", "plan": "beta", "age": 20}, True, "described", 0),
        ({"user": "u-9", "plan": "beta", "age": 17, "staff": True}, True, "described", 1),
        ({"user": "u-9", "plan": "pro"}, False, "not_described", None),
        ({"plan": "beta", "age": 20}, None, "unit_missing", 0),
    ],
)
def test_a_cohort_says_what_decided(
    context: dict[str, object], belongs: bool | None, because: str, matched: int
) -> None:
    compiled = Compiled.load("test", 1, {ResourceRef("cohort", "beta"): encode(parse("cohort", "beta", COHORT))})
    found = trace_cohort(compiled, "beta", context)
    assert (found.belongs, found.because, found.matched, found.by) == (belongs, because, matched, "user")
    assert compiled.cohort("beta").contains(context) is belongs


def test_a_cohort_tests_every_condition_of_every_description() -> None:
    compiled = Compiled.load("test", 1, {ResourceRef("cohort", "beta"): encode(parse("cohort", "beta", COHORT))})
    found = trace_cohort(compiled, "beta", {"user": "u-9", "age": 17})
    assert [[clause.result for clause in each] for each in found.alternatives] == [["unknown", "failed"], ["failed"]]
    with pytest.raises(LookupError):
        trace_cohort(compiled, "nope", {})
