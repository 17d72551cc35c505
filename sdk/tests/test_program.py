"""Generated code holds nothing but its own words, whatever a flag's author writes."""

import io
import keyword
import re
import tokenize
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.evaluation import source as program
from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from sdk.tests.strategies import COHORTS, cohorts, flags

OWN_NAME = re.compile(r"(k|text|unit|number|moment|release)\d+|make|run|context|hashed|get|startswith|endswith|encode")
HELPERS = {
    "contains",
    "dotted",
    "hash32",
    "member",
    "moment",
    "number",
    "release",
    "text",
    "unit",
    "type",
    "str",
    "int",
}
HELPERS |= {"float", "len", "Exception"}
NASTY = ['"', "'", "\\", "\n", "k0", "__import__('os')", "{}", "%s", "#", "\0", "a.b", "'''", "\u2028"]

sources: list[str] = []


@pytest.fixture(autouse=True)
def listen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = program._code

    def code(source: str) -> Any:
        sources.append(source)
        return real(source)

    monkeypatch.setattr(program, "_code", code)
    sources.clear()


def words(source: str) -> set[str]:
    """The names in `source`; there must be no text, and no comment, in it."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    assert not [token for token in tokens if token.type in {tokenize.STRING, tokenize.COMMENT}]
    return {token.string for token in tokens if token.type == tokenize.NAME and not keyword.iskeyword(token.string)}


@given(flags(), cohorts())
def test_the_source_of_any_flag_is_made_of_our_own_words(flag: Any, cohort: Any) -> None:
    specs = {("flag", "f"): flag} | {("cohort", key): cohort for key in COHORTS}
    compiled = Compiled.load("e", 1, {ResourceRef(*ref): encode(parse(*ref, spec)) for ref, spec in specs.items()})
    sources.clear()
    evaluate(compiled, "f", {}, default=None)
    assert sources
    for source in sources:
        assert {word for word in words(source) if not OWN_NAME.fullmatch(word)} <= HELPERS


@given(st.sampled_from(NASTY), st.sampled_from(NASTY), st.sampled_from(NASTY))
def test_nasty_names_and_values_mean_themselves(attribute: str, value: str, variant: str) -> None:
    clause = {"attribute": attribute, "op": "in", "values": [value]}
    split = {"split": [{"variant": variant, "weight_bp": 10_000}], "by": attribute, "seed": value}
    spec = {
        "type": "string",
        "variants": {variant: value, "other": "other"},
        "off_variant": "other",
        "default": "other",
        "rules": [{"id": value, "if": [clause], "serve": split}],
    }
    compiled = Compiled.load("e", 1, {ResourceRef("flag", "f"): encode(parse("flag", "f", spec))})
    decision = evaluate(compiled, "f", {attribute: value}, default="")
    assert (decision.value, decision.variant, decision.rule, decision.reason) == (value, variant, value, "SPLIT")
    assert evaluate(compiled, "f", {attribute: value + "!"}, default="").value == "other"


def test_flags_of_one_shape_share_their_code() -> None:
    def spec(plan: str) -> dict[str, Any]:
        rule = {"id": plan, "if": [{"attribute": "plan", "op": "in", "values": [plan, "x"]}], "serve": "on"}
        return {
            "type": "boolean",
            "variants": {"on": True, "off": False},
            "off_variant": "off",
            "default": "off",
            "rules": [rule],
        }

    raw = {ResourceRef("flag", plan): encode(parse("flag", plan, spec(plan))) for plan in ("pro", "free")}
    compiled = Compiled.load("e", 1, raw)
    pro: Any = compiled.any["pro"]
    free: Any = compiled.any["free"]
    assert pro.__code__ is free.__code__
    assert evaluate(compiled, "pro", {"plan": "free"}, default=None).value is False
    assert evaluate(compiled, "free", {"plan": "free"}, default=None).value is True


def test_operands_that_python_takes_for_equal_stay_apart() -> None:
    def spec(value: Any) -> dict[str, Any]:
        rule = {"id": "r", "if": [{"attribute": "a", "op": "in", "values": [value]}], "serve": "on"}
        return {
            "type": "boolean",
            "variants": {"on": True, "off": False},
            "off_variant": "off",
            "default": "off",
            "rules": [rule],
        }

    values = {"true": True, "one": 1, "float": 1.0, "text": "1"}
    raw = {ResourceRef("flag", key): encode(parse("flag", key, spec(value))) for key, value in values.items()}
    compiled = Compiled.load("e", 1, raw)
    found = {
        key: [evaluate(compiled, key, {"a": value}, default=None).value for value in values.values()] for key in values
    }
    assert found == {
        "true": [True, False, False, False],
        "one": [False, True, True, False],
        "float": [False, True, True, False],
        "text": [False, False, False, True],
    }
