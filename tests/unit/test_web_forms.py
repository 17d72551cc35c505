"""What a form says becomes a document, and a document becomes a form: without losing or inventing anything."""

from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import inspect

from brownout.model.kinds import KINDS
from brownout.model.parse import encode, parse
from brownout.model.resources import VALUE_TYPES
from controlplane.web.editing.draft import change, read
from controlplane.web.editing.sent import Sent, checked, difference, document_of, errors_of
from controlplane.web.editing.typed_form import Group, Items, Leaf, Node, Place, describe, fields, offer
from controlplane.web.flags.editor import change_flag, flag_form
from controlplane.web.flags.rules import (
    Known,
    alternative_rows,
    normalise,
    read_values,
    rule_rows,
    sentence,
    serve_row,
    values_text,
)
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.parts import Option

ROUTE = {
    "targets": {
        "a/b": {"provider": "p", "model": "m", "params": {"temperature": 0.5}},
        "c~d": {"provider": "q", "model": "n"},
    },
    "primary": "a/b",
}
LADDER = {
    "rungs": [
        {"type": "model", "target": "m", "on": ["timeout", "refusal"]},
        {"type": "cache", "max_age_s": 60},
        {"type": "human_review", "queue": "tier-2"},
    ],
    "terminal": {"refusal": "stop", "content_filter": "stop"},
    "deadline_ms": 2000,
}
BUDGET = {
    "per_request": {"max_output_tokens": 800},
    "window": {"unit": "tokens", "limit": 5, "per": "minute", "scope": ["tenant"]},
    "on_exceeded": "warn",
}
TOOLS = {"include": ["search", "refund.*"], "exclude": ["x"], "require_approval": [], "max_calls": 0}
RETRY = {"max_attempts": 3, "retry_on": ["timeout"], "retry_budget": {"ratio": 0.1}, "jitter": "none"}
PROMPT = {
    "messages": [{"role": "system", "text": "You help {name}.\nBe kind."}, {"role": "user", "text": "{{}}"}],
    "variables": ["name"],
}
VALUES: dict[str, Any] = {
    "model_route": ROUTE, "fallback_ladder": LADDER, "token_budget": BUDGET, "tool_policy": TOOLS, "retry_policy": RETRY,
    "prompt": PROMPT,
}  # fmt: skip


def submitted(node: Node) -> list[tuple[str, str]]:
    """What a browser sends for a form."""
    if isinstance(node, Group):
        return [field for child in node.children for field in submitted(child)]
    if isinstance(node, Items):
        return [field for item in node.items for field in submitted(item)]
    if node.control == "check":
        return [(node.name, "false"), *([(node.name, "true")] if node.value else [])]
    if node.control == "each":
        return [(node.name, ""), *((node.name, value) for value in node.chosen)]
    return [(node.name, node.value)]


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_the_typed_form_of_a_variant_sends_back_what_it_shows(kind: str) -> None:
    node = describe(inspect.type_info(VALUE_TYPES[kind]), VALUES[kind], Place("/value", "/value", "Value", {}))  # type: ignore[index]
    sent = read(submitted(node))["value"]
    assert msgspec.convert(sent, VALUE_TYPES[kind]) == msgspec.convert(VALUES[kind], VALUE_TYPES[kind])  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (
            "safe_mode_profile",
            {"exclude_tools": ["*"], "max_temperature": 0.1, "shed_bp": {"sheddable": 2550}, "banner": {"text": "Hi"}},
        ),
        ("cohort", {"by": "tenant", "include": ["a", "b"], "exclude": ["c"]}),
        ("request_class", {"criticality": "critical_plus", "model": "m", "sensitive": True}),
        ("response_template", {"text": "Sorry, {name}.\nLater."}),
    ],
)
def test_the_typed_form_of_a_resource_sends_back_what_it_shows(kind: str, spec: dict[str, Any]) -> None:
    nodes = fields(KINDS[kind].struct, spec, Place("", "", "", {}), frozenset({"any_of"}))
    sent = read([field for node in nodes for field in submitted(node)])
    assert encode(parse(kind, "key", sent)) == encode(parse(kind, "key", spec))


def test_errors_stand_at_the_control_that_is_wrong() -> None:
    errors = {"/targets/a~1b/model": "is missing"}
    node = describe(inspect.type_info(VALUE_TYPES["model_route"]), ROUTE, Place("", "", "", errors))
    wrong = [leaf for leaf in _leaves(node) if leaf.error]
    assert [(leaf.label, leaf.error) for leaf in wrong] == [("Model", "is missing")]


def _leaves(node: Node) -> list[Leaf]:
    if isinstance(node, Leaf):
        return [node]
    inner = node.children if isinstance(node, Group) else node.items
    return [leaf for child in inner for leaf in _leaves(child)]


def test_what_names_something_is_picked_wherever_it_stands() -> None:
    plan = {"flag": "model", "stages": [{"weight_bp": 500, "cohort": "beta"}], "guardrails": [{"measure": "error"}]}
    cohorts = (Option("", "everyone"), Option("beta", "beta"))
    made = [
        offer(node, {"cohort": cohorts})
        for node in fields(KINDS["rollout"].struct, plan, Place("", "", "", {}), frozenset())
    ]
    found = {leaf.name: leaf for node in made for leaf in _leaves(node)}
    cohort = found["text?:/stages/[0]/cohort"]
    assert (cohort.control, cohort.options, cohort.value) == ("choice", cohorts, "beta")
    assert found["text?:/guardrails/[0]/profile"].control == "text"


def test_text_that_is_no_number_is_kept_for_the_parser_to_refuse() -> None:
    document = read([("text:/type", "integer"), ("text:/variants/{0}/@key", "a"), ("int:/variants/{0}/@value", "seven"),
                     ("text:/default", "a"), ("text:/off_variant", "a")])  # fmt: skip
    assert document["variants"] == {"a": "seven"}
    assert "/variants/a" in errors_of("flag", "key", document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab@[]{}0", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(("id", "if", "serve", "x")), inner, max_size=2)
    ),
    max_leaves=4,
)
FLAG: dict[str, Any] = {
    "type": "string", "variants": {"a": "A", "b": "B"}, "off_variant": "a", "safe_variant": "a", "enabled": True,
    "default": {"split": [{"variant": "a", "weight_bp": 1}, {"variant": "b", "weight_bp": 9_999}], "by": "org"},
    "rules": [{"id": "r", "if": [{"op": "in", "attribute": "plan", "values": ["pro"]}], "serve": "b"}],
}  # fmt: skip


@st.composite
def wrong_flags(draw: st.DrawFn) -> dict[str, Any]:
    """A flag with something else in one or two places."""
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(FLAG))
    for _ in range(draw(st.integers(1, 2))):
        holder: Any = document
        while True:
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
            inner = holder[key]
            if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
                holder[key] = draw(JSON)
                break
            holder = inner
    return document


@given(
    wrong_flags(),
    st.sampled_from(("json", "", "add:/rules", "add:/variants", "add:/rules/[0]/if@cohort", "add:/rules/[0]/serve/split",
                     "add:/default/split", "up:/rules/[0]", "remove:/rules/[0]/if/[0]", "copy:/rules/[0]")),
)  # fmt: skip
def test_a_flag_of_any_shape_is_shown_with_what_is_wrong_with_it(document: dict[str, Any], command: str) -> None:
    draft = Sent(document, 1, command, "m")
    change_flag(draft, encode(parse("flag", "m", FLAG)), ("beta",))
    form = flag_form(
        Mock(spec=Frame), draft, encode(parse("flag", "m", FLAG)), post="", review="", cohorts=("beta",), may_edit=True
    )
    assert form.document


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=12))
def test_any_form_at_all_gives_a_document(sent: list[tuple[str, str]]) -> None:
    assert isinstance(read([(f"text:/{name}", value) for name, value in sent]), dict)
    assert isinstance(read(sent), dict)


@given(st.text(max_size=40), st.sampled_from(["add", "remove", "up", "down", "copy", "to.3", "", "nonsense"]))
def test_any_command_at_all_leaves_a_document(path: str, verb: str) -> None:
    document: dict[str, Any] = {"rules": [{"id": "a"}, {"id": "b"}], "variants": {"x": 1}}
    change(document, f"{verb}:/{path}", lambda _: {"id": "new"})
    assert isinstance(document, dict)


@pytest.mark.parametrize(
    ("command", "order"),
    [
        ("up:/rules/[1]", ["b", "a", "c"]),
        ("down:/rules/[0]", ["b", "a", "c"]),
        ("to.0:/rules/[2]", ["c", "a", "b"]),
        ("remove:/rules/[1]", ["a", "c"]),
        ("copy:/rules/[0]", ["a", "a", "b", "c"]),
        ("add:/rules", ["a", "b", "c", "new"]),
        ("up:/rules/[9]", ["a", "b", "c"]),
    ],
)
def test_rules_move(command: str, order: list[str]) -> None:
    document: dict[str, Any] = {"rules": [{"id": name} for name in "abc"]}
    change(document, command, lambda _: {"id": "new"})
    assert [rule["id"] for rule in document["rules"]] == order


def test_entries_of_maps_are_added_under_a_free_name_and_removed_by_place() -> None:
    document: dict[str, Any] = {"variants": {"new": 1}}
    change(document, "add:/variants", lambda _: ("new", 2))
    assert document["variants"] == {"new": 1, "new-2": 2}
    change(document, "remove:/variants/{0}", lambda _: None)
    assert document["variants"] == {"new-2": 2}


@example(values=['"', "0"])
@given(
    st.lists(
        st.one_of(
            st.text(min_size=1, max_size=20),
            st.integers(-(2**53), 2**53),
            st.booleans(),
            st.floats(allow_nan=False, allow_infinity=False),
        ),
        max_size=5,
    )
)
def test_values_are_read_as_they_are_shown(values: list[Any]) -> None:
    shown = values_text(values)
    if "\n" not in shown and "\r" not in shown:
        assert read_values(shown) == values


def test_a_rule_is_read_from_its_sentence() -> None:
    document = read([
        ("text:/variants/{0}/@key", "on"), ("bool:/variants/{0}/@value", "true"),
        ("text:/variants/{1}/@key", "off"), ("bool:/variants/{1}/@value", "false"),
        ("text:/rules/[0]/id", "r"), ("text:/rules/[0]/if/[0]/@test", "!in_cohort"), ("text:/rules/[0]/if/[0]/@values", "beta"),
        ("text:/rules/[0]/if/[1]/attribute", "age"), ("text:/rules/[0]/if/[1]/@test", "gte"), ("text:/rules/[0]/if/[1]/@values", "18"),
        ("text:/rules/[0]/serve/@pick", "@split"), ("text:/default/@pick", "off"),
    ])  # fmt: skip
    normalise(document, {})
    rule = document["rules"][0]
    assert rule["if"] == [
        {"op": "in_cohort", "values": ["beta"], "negate": True},
        {"attribute": "age", "op": "gte", "values": [18]},
    ]
    assert rule["serve"]["split"] == [{"variant": "on", "weight_bp": 0}, {"variant": "off", "weight_bp": 10_000}]
    assert document["default"] == "off"
    assert [sentence(clause) for clause in rule["if"]] == ["not in cohort beta", "age is at least 18"]


def test_rows_say_what_changed_and_what_could_join() -> None:
    known = Known(("a", "b", "c"), ("beta",), {"/rules/0/serve": "sums to 9,000"})
    now = {"split": [{"variant": "a", "weight_bp": 2500}, {"variant": "b", "weight_bp": 6500}]}
    before = {"split": [{"variant": "a", "weight_bp": 500}, {"variant": "b", "weight_bp": 9500}]}
    saved = {"rules": [{"id": "r", "if": [], "serve": before}]}
    row = rule_rows({"rules": [{"id": "r", "if": [], "serve": now}]}, saved, known)[0]
    assert row.changed
    assert [share.was for share in row.serve.shares] == ["was 5\u00a0%", "was 95\u00a0%"]
    assert (row.serve.total_bp, row.serve.unused, row.serve.error) == (9000, ("c",), "sums to 9,000")
    assert serve_row("/default", "/default", "a", None, known).pick == "a"
    assert len(alternative_rows({"any_of": [[{"attribute": "x", "op": "exists"}]]}, known)[0]) == 1


def test_what_a_form_adds_without_saying_anything_is_no_change() -> None:
    saved = encode(parse("flag", "key", {
        "type": "model_route", "variants": {"a": ROUTE}, "off_variant": "a", "default": "a",
        "rules": [{"id": "r", "serve": {"split": [{"variant": "a", "weight_bp": 10_000}]}}],
    }))  # fmt: skip
    drawn = document_of(saved)
    drawn["rules"][0]["serve"]["by"] = "targeting_key"
    drawn["variants"]["a"]["targets"]["a/b"]["params"]["top_p"] = None
    document, errors = checked("flag", "key", drawn)
    assert not errors
    assert difference(saved, document) == 0
    assert not rule_rows(document, document_of(saved), Known(("a",), (), {}))[0].changed
