"""What parse accepts, and that it refuses the rest with a code and a pointer for every fault."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from brownout.model.faults import InvalidResource
from brownout.model.parse import decode, encode, parse
from brownout.model.resources import Flag, ResourceRef

BOOLEAN: dict[str, Any] = {
    "type": "boolean",
    "variants": {"on": True, "off": False},
    "off_variant": "off",
    "default": "on",
}
ROUTE: dict[str, Any] = {
    "targets": {"main": {"provider": "openai", "model": "gpt-5", "max_context_tokens": 1000}},
    "primary": "main",
}
ACTIVATION: dict[str, Any] = {
    "profile": "incident",
    "reason": "provider outage",
    "actor": "ada",
    "activated_at": "2026-01-31T09:00:00Z",
    "expires_at": "2026-01-31T10:00:00Z",
}


def flag(**changes: Any) -> dict[str, Any]:
    return BOOLEAN | changes


def faults(kind: str, spec: bytes | str | Mapping[str, Any], key: str = "k") -> list[tuple[str, str]]:
    with pytest.raises(InvalidResource) as caught:
        parse(kind, key, spec)
    assert all((fault.kind, fault.key) == (kind, key) and fault.message for fault in caught.value.faults)
    return sorted((fault.code, fault.pointer) for fault in caught.value.faults)


def test_a_parsed_spec_survives_encoding_and_equal_specs_give_equal_bytes() -> None:
    spec = flag(
        tags=["a"], rules=[{"id": "r", "if": [{"attribute": "plan", "op": "in", "values": ["pro"]}], "serve": "on"}]
    )
    parsed = parse("flag", "web-search", spec)
    assert decode("flag", encode(parsed)) == parsed
    shuffled = json.dumps(dict(reversed(spec.items())), indent=3)
    assert encode(parse("flag", "web-search", shuffled)) == encode(parsed)


def test_whole_numbers_of_a_float_flag_stay_floats() -> None:
    spec = flag(type="float", variants={"on": 1, "off": 0.5})
    parsed = parse("flag", "k", spec)
    again = decode("flag", encode(parsed))
    assert isinstance(again, Flag)
    assert repr(again.variants) == "{'off': 0.5, 'on': 1.0}"


def test_every_fault_of_a_spec_is_reported_at_once() -> None:
    spec = flag(
        colour="red",
        enabled="yes",
        rules=[{"id": "r", "serve": 3}, {"serve": "on", "if": [{"op": "like", "attribute": "a"}]}],
    )
    assert faults("flag", spec) == [
        ("invalid_value", "/rules/1/if/0/op"),
        ("missing_field", "/rules/1/id"),
        ("unknown_field", "/colour"),
        ("wrong_type", "/enabled"),
        ("wrong_type", "/rules/0/serve"),
    ]


@pytest.mark.parametrize("key", ["", "Upper", "-dash", "a" * 101, "a b", "ä", "a\n"])
def test_a_key_outside_the_pattern_is_refused(key: str) -> None:
    assert faults("flag", BOOLEAN, key) == [("invalid_key", "")]


def test_an_unknown_kind_is_refused() -> None:
    assert faults("flags", BOOLEAN) == [("unknown_kind", "")]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"{", ("invalid_json", "")),
        (b"\xff", ("invalid_json", "")),
        (b'{"type": NaN}', ("not_finite", "/type")),
        (b'{"type": -Infinity}', ("not_finite", "/type")),
        (b'{"variants": {"on": 1e999}}', ("not_finite", "/variants/on")),
        (b'{"variants": {"on": 1, "on": 2}}', ("duplicate_key", "/variants/on")),
        (b'{"a/b~": {"on": 1, "on": 2}}', ("duplicate_key", "/a~1b~0/on")),
        (b'{"description": "\\ud800"}', ("invalid_value", "/description")),
        (b'{"variants": {"on": 9223372036854775808}}', ("invalid_value", "/variants/on")),
        (b'{"a": ' + b"9" * 5_000 + b"}", ("invalid_json", "")),
        (b"[" * 200_000 + b"]" * 200_000, ("too_deep", "")),
        (b'{"a":' * 101 + b"1" + b"}" * 101, ("too_deep", "/a" * 100)),
        (b'"' + b"x" * 1_000_000 + b'"', ("too_large", "")),
    ],
)
def test_json_with_more_than_one_meaning_or_no_bounds_is_refused(text: bytes, fault: tuple[str, str]) -> None:
    assert faults("flag", text) == [fault]


def test_a_hundred_levels_are_allowed_and_one_more_is_not() -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for _ in range(levels - 1):
            value = {"a": value}
        return value

    spec = flag(type="object", variants={"on": nested(98), "off": {}})
    assert parse("flag", "k", spec)
    assert faults("flag", flag(type="object", variants={"on": nested(99), "off": {}}))[0][0] == "too_deep"


@pytest.mark.parametrize(
    ("value", "code"),
    [({"a": float("nan")}, "not_finite"), ({"a": {1, 2}}, "wrong_type"), ({1: 2}, "wrong_type")],
)
def test_plain_data_that_json_cannot_carry_is_refused(value: dict[str, Any], code: str) -> None:
    assert faults("flag", flag(type="object", variants={"on": value, "off": {}}))[0][0] == code


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"off_variant": "x"}, [("unknown_variant", "/off_variant")]),
        ({"safe_variant": "x"}, [("unknown_variant", "/safe_variant")]),
        ({"default": "x"}, [("unknown_variant", "/default")]),
        ({"variants": {"on": 1, "off": False}}, [("wrong_type", "/variants/on")]),
        ({"type": "integer", "variants": {"on": 1.0, "off": True}}, [("wrong_type", "/variants/off"), ("wrong_type", "/variants/on")]),
        ({"default": {"split": [{"variant": "on", "weight_bp": 9_999}]}}, [("split_sum", "/default/split")]),
        ({"default": {"split": [{"variant": "x", "weight_bp": 10_000}]}}, [("unknown_variant", "/default/split/0/variant")]),
        ({"default": {"split": [{"variant": "on", "weight_bp": -1}]}}, [("invalid_value", "/default/split/0/weight_bp")]),
        ({"default": {"split": [{"variant": "on", "weight_bp": 10_000}], "version": 2}}, [("invalid_value", "/default/version")]),
        ({"rules": [{"id": "r", "serve": "on"}, {"id": "r", "serve": "x"}]}, [("duplicate", "/rules/0/id"), ("duplicate", "/rules/1/id"), ("unknown_variant", "/rules/1/serve")]),
        ({"schema": {"type": "object"}}, [("invalid_value", "/schema")]),
        ({"type": "object", "variants": {"on": {"n": "1"}, "off": {"n": 1}}, "schema": {"properties": {"n": {"type": "integer"}}}}, [("wrong_type", "/variants/on/n")]),
        ({"type": "object", "variants": {"on": {}, "off": {}}, "schema": {"pattern": "(a+)+"}}, [("invalid_value", "/schema/pattern")]),
        ({"type": "model_route", "variants": {"on": ROUTE | {"primary": "x"}, "off": ROUTE}}, [("missing_target", "/variants/on/primary")]),
        ({"type": "model_route", "variants": {"on": ROUTE, "off": {"targets": {"main": {"provider": 1}}}}}, [("missing_field", "/variants/off/primary"), ("missing_field", "/variants/off/targets/main/model"), ("wrong_type", "/variants/off/targets/main/provider")]),
        ({"type": "fallback_ladder", "variants": {"on": {"rungs": [{"type": "model"}]}, "off": {}}}, [("missing_field", "/variants/on/rungs/0/target")]),
        ({"type": "fallback_ladder", "variants": {"on": {"rungs": [{"type": "cache", "queue": "q"}]}, "off": {}}}, [("unknown_field", "/variants/on/rungs/0/queue")]),
        ({"type": "fallback_ladder", "variants": {"on": {"terminal": {"refusal": "template"}}, "off": {}}}, [("missing_target", "/variants/on/terminal/refusal")]),
    ],
)  # fmt: skip
def test_an_unsound_flag_is_refused_where_it_is_unsound(
    changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert faults("flag", flag(**changes)) == expected


@pytest.mark.parametrize(
    "clause",
    [
        {"attribute": "a", "op": "in"},
        {"attribute": "a", "op": "exists", "values": [1]},
        {"attribute": "a", "op": "lt", "values": ["1"]},
        {"attribute": "a", "op": "lt", "values": [True]},
        {"attribute": "a", "op": "lt", "values": [1, 2]},
        {"attribute": "a", "op": "before", "values": ["2026-01-31"]},
        {"attribute": "a", "op": "before", "values": ["2026-01-31T09:00:00"]},
        {"attribute": "a", "op": "semver_eq", "values": ["one"]},
        {"attribute": "a", "op": "starts_with", "values": [""]},
        {"op": "in_cohort", "values": ["Not A Key"]},
    ],
)
def test_operands_must_suit_their_operator(clause: dict[str, Any]) -> None:
    assert faults("flag", flag(rules=[{"id": "r", "if": [clause], "serve": "on"}])) == [
        ("invalid_value", "/rules/0/if/0/values")
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"reason": ""}, ("invalid_value", "/reason")),
        ({"reason": "  "}, ("invalid_value", "/reason")),
        ({"profile": "Calm"}, ("invalid_value", "/profile")),
        ({"expires_at": "2026-01-31T08:00:00Z"}, ("expired", "/expires_at")),
        ({"expires_at": "2026-01-31T10:00:00"}, ("invalid_value", "/expires_at")),
        ({"on_expiry": "forget"}, ("invalid_value", "/on_expiry")),
        ({"scope": {"services": "all"}}, ("wrong_type", "/scope/services")),
    ],
)
def test_an_activation_says_why_and_until_when(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert faults("safe_mode_activation", ACTIVATION | changes) == [expected]
    for required in ("reason", "expires_at"):
        missing = {name: value for name, value in ACTIVATION.items() if name != required}
        assert faults("safe_mode_activation", missing) == [("missing_field", "/" + required)]


@pytest.mark.parametrize(
    ("changes", "said"), [({"reason": " "}, "must not be blank"), ({"profile": "Calm"}, "a key is 1 to 100 of")]
)
def test_a_fault_is_told_in_words_not_in_patterns(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidResource, match=said):
        parse("safe_mode_activation", "k", ACTIVATION | changes)


def test_a_template_has_only_plain_placeholders() -> None:
    assert parse("response_template", "k", {"text": "Sorry {name}, {{really}}."})
    for text in ("{", "}", "{a b}", "{a.b}", "{}", "{a!r}"):
        assert faults("response_template", {"text": text}) == [("invalid_value", "/text")]


def test_a_cohort_clause_may_spell_out_that_it_tests_no_attribute() -> None:
    rule = {"id": "r", "if": [{"attribute": "", "op": "in_cohort", "values": ["beta"]}], "serve": "on"}
    assert parse("flag", "k", flag(rules=[rule]))
    rule["if"] = [{"attribute": "", "op": "in", "values": ["beta"]}]
    assert faults("flag", flag(rules=[rule])) == [("missing_field", "/rules/0/if/0/attribute")]


def test_a_cohort_is_not_built_on_cohorts() -> None:
    spec = {"any_of": [[{"op": "in_cohort", "values": ["beta"]}]]}
    assert faults("cohort", spec) == [("invalid_value", "/any_of/0/0/op")]


def test_specs_are_hashable_by_reference_and_frozen() -> None:
    parsed = parse("flag", "k", BOOLEAN)
    with pytest.raises(AttributeError):
        parsed.enabled = False  # type: ignore[attr-defined]
    assert msgspec.structs.replace(parsed) == parsed
    assert ResourceRef("flag", "k") == ("flag", "k")


@pytest.mark.parametrize(
    ("kind", "spelled", "lean"),
    [
        ("cohort", b'{"by":"targeting_key","include":["u"],"any_of":[]}', b'{"include":["u"]}'),
        (
            "safe_mode_profile",
            b'{"sensitive":"continue","banner":{"text":"x","level":"info"}}',
            b'{"banner":{"text":"x"}}',
        ),
        (
            "flag",
            b'{"type":"retry_policy","variants":{"a":{"max_backoff_ms":10000,"jitter":"full"}},"off_variant":"a","default":"a"}',
            b'{"default":"a","off_variant":"a","type":"retry_policy","variants":{"a":{}}}',
        ),
    ],
)
def test_a_default_that_is_spelled_out_encodes_as_if_it_were_not(kind: str, spelled: bytes, lean: bytes) -> None:
    assert encode(parse(kind, "k", spelled)) == lean
