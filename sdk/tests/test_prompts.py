"""Prompts as flags: what a commit refuses, what a policy carries, and what older SDKs make of them."""

import json
from typing import Any

import msgspec
import pytest

from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import policy
from brownout.evaluation.policy import PolicyPrompt
from brownout.model.check import check
from brownout.model.faults import InvalidResource
from brownout.model.parse import encode, parse
from brownout.model.reading import read
from brownout.model.resources import ResourceRef
from brownout.model.values import PromptMessage
from brownout.telemetry.reports import request_key
from brownout.testing import FakeBrownout


def prompt(text: str, *variables: str) -> dict[str, Any]:
    return {"messages": [{"role": "system", "text": text}], "variables": list(variables)}


def flag(**variants: Any) -> dict[str, Any]:
    first = next(iter(variants))
    return {"type": "prompt", "variants": variants, "off_variant": first, "default": first}


def faults(spec: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidResource) as refused:
        parse("flag", "words", spec)
    return [(fault.code, fault.pointer) for fault in refused.value.faults]


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        ({"a": prompt("Hello {name}.")}, ("unknown_reference", "/variants/a/messages/0/text")),
        ({"a": prompt('Answer {"text": 1}', "text")}, ("invalid_value", "/variants/a/messages/0/text")),
        ({"a": prompt("Hello {name.first}", "name")}, ("invalid_value", "/variants/a/messages/0/text")),
        ({"a": prompt("Hello", "first name")}, ("invalid_value", "/variants/a/variables/0")),
        ({"a": prompt("Hello", "name", "name")}, ("duplicate", "/variants/a/variables/1")),
        ({"a": prompt("Hello"), "b": prompt("{name}", "name")}, ("invalid_value", "/variants/b/variables")),
        ({"a": {"messages": []}}, ("invalid_value", "/variants/a/messages")),
        ({"a": {"messages": [{"role": "oracle", "text": "?"}]}}, ("invalid_value", "/variants/a/messages/0/role")),
    ],
)
def test_a_prompt_whose_placeholders_do_not_fit_is_refused(variants: dict[str, Any], expected: tuple[str, str]) -> None:
    assert faults(flag(**variants)) == [expected]


def test_a_declared_variable_need_not_be_used_by_every_variant() -> None:
    parse("flag", "words", flag(a=prompt("Hello {name}.", "name"), b=prompt("Hello.", "name")))


def test_a_request_class_names_a_prompt_flag_and_no_other() -> None:
    route = {"targets": {"m": {"provider": "p", "model": "m"}}, "primary": "m"}
    specs = {
        ResourceRef("flag", "route"): parse("flag", "route", {**flag(a=route), "type": "model_route"}),
        ResourceRef("request_class", "reply"): parse(
            "request_class", "reply", {"criticality": "critical", "model": "route", "prompt": "route"}
        ),
    }
    (fault,) = check(specs, specs)
    assert (fault.code, fault.pointer) == ("wrong_reference_type", "/prompt")


def test_values_are_put_in_once_and_braces_stay() -> None:
    made = PolicyPrompt((PromptMessage("system", "{{{a}}} and {b}"), PromptMessage("user", "{a}")), ("a", "b"))
    assert made.render({"a": "{b}", "b": 7, "c": "unused"}) == [
        {"role": "system", "content": "{{b}} and 7"},
        {"role": "user", "content": "{b}"},
    ]
    assert made.missing({"a": None}) == ("a", "b")
    with pytest.raises(ValueError, match="a value for b"):
        made.render({"a": 1})


def world(text: str) -> Compiled:
    route = {"targets": {"m": {"provider": "p", "model": "m"}}, "primary": "m"}
    specs: dict[ResourceRef, dict[str, Any]] = {
        ResourceRef("flag", "route"): {**flag(a=route), "type": "model_route"},
        ResourceRef("flag", "words"): flag(a=prompt(text)),
        ResourceRef("request_class", "reply"): {"criticality": "critical", "model": "route", "prompt": "words"},
    }
    return Compiled.load("e", 1, {ref: encode(parse(ref.kind, ref.key, spec)) for ref, spec in specs.items()})


def test_the_version_follows_the_text_and_nothing_else() -> None:
    versions = [
        getattr(policy(world(text), "reply").prompt, "version", "") for text in ("Be kind.", "Be kind.", "Be brief.")
    ]
    assert versions[0] == versions[1] != versions[2]


def test_openfeature_and_the_client_have_it_as_an_object() -> None:
    client = FakeBrownout()
    client.put("flag", "words", flag(a=prompt("Hello {name}.", "name")))
    assert json.loads(json.dumps(client.object("words"))) == prompt("Hello {name}.", "name")
    assert client.decide("words", default={}).value == client.object("words")


def test_an_sdk_that_does_not_know_a_type_or_a_field_decides_the_rest_as_before() -> None:
    """As an older SDK does with prompts."""
    compiled = world("Be kind.")
    newer_flag = msgspec.json.encode({**flag(a={"messages": [], "mood": "new"}), "type": "prompt_of_the_future"})
    resources = {**compiled.resources, ResourceRef("flag", "words"): newer_flag}
    found = policy(Compiled.load("e", 1, resources), "reply")
    assert found.model is not None
    assert found.prompt is None
    assert found.error_code == "PARSE_ERROR"
    newer_class = msgspec.json.encode({"criticality": "critical", "model": "route", "prompt_of_the_future": "words"})
    assert read("request_class", newer_class) == parse(
        "request_class", "reply", {"criticality": "critical", "model": "route"}
    )


def test_requests_are_counted_by_the_prompt_and_its_version() -> None:
    compiled = world("Be kind.")
    found = policy(compiled, "reply")
    assert found.prompt is not None
    assert request_key(found).prompt == f"a@{found.prompt.version}"
    assert request_key(policy(compiled, "nowhere")).prompt == ""
