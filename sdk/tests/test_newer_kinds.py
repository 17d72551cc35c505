"""What a newer version wrote: each kind is read as its row says, and nothing else is touched (docs/adr/0100)."""

from typing import Any

import msgspec
import pytest

from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate
from brownout.evaluation.policy import Policy
from brownout.model.kinds import KINDS
from brownout.model.reading import UNREADABLE, read
from brownout.model.resources import ResourceRef

FLAG: dict[str, Any] = {
    "type": "boolean",
    "variants": {"on": True, "off": False},
    "off_variant": "off",
    "default": "on",
}
ROUTE: dict[str, Any] = {
    "type": "model_route",
    "variants": {"one": {"targets": {"main": {"provider": "openai", "model": "m"}}, "primary": "main"}},
    "off_variant": "one",
    "default": "one",
}
SPECS: dict[str, dict[str, Any]] = {
    "flag": FLAG,
    "cohort": {"include": ["u-1"]},
    "request_class": {"criticality": "critical", "model": "route"},
    "safe_mode_profile": {"max_attempts": 1},
    "safe_mode_activation": {
        "profile": "calm",
        "reason": "it invents refunds",
        "actor": "ann@example.com",
        "activated_at": "2026-01-01T00:00:00Z",
        "expires_at": "2099-01-01T00:00:00Z",
    },
    "response_template": {"text": "Sorry."},
    "rollout": {"flag": "f", "control": "off", "treatment": "on", "stages": [{"weight_bp": 10_000}]},
    "failure_mode": {"detect": {"errors": ["timeout"]}},
    "service_tier": {"rank": 1},
}
WORLD: dict[ResourceRef, Any] = {
    ResourceRef("flag", "f"): FLAG,
    ResourceRef("flag", "route"): ROUTE,
    ResourceRef("cohort", "beta"): SPECS["cohort"],
    ResourceRef("request_class", "reply"): SPECS["request_class"],
    ResourceRef("safe_mode_profile", "calm"): {
        "exclude_tools": ["shell"], "sensitive": "human_review", "shed_bp": {"sheddable": 10_000},
    },
    ResourceRef("safe_mode_activation", "now"): SPECS["safe_mode_activation"],
}  # fmt: skip


def compiled(changes: dict[ResourceRef, Any] | None = None) -> Compiled:
    specs = {**WORLD, **(changes or {})}
    return Compiled.load("production", 1, {ref: msgspec.json.encode(spec) for ref, spec in specs.items()})


def refused(kind: str, newer: dict[str, Any]) -> bool:
    try:
        read(kind, msgspec.json.encode({**SPECS[kind], **newer}))
    except UNREADABLE:
        return True
    return False


def test_every_kind_is_tried_here() -> None:
    assert SPECS.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_the_row_says_what_becomes_of_an_unknown_field(kind: str) -> None:
    assert refused(kind, {"newer": 1}) == (KINDS[kind].newer == "refuse")


@pytest.mark.parametrize("kind", KINDS)
def test_descriptions_are_ignored(kind: str) -> None:
    assert not refused(kind, {"about_links": [{"href": "https://example.com"}]})
    known = {field.name for field in msgspec.structs.fields(KINDS[kind].struct)}
    for field in {"description", "owner", "tags"} & known:
        assert not refused(kind, {field: {"en": "x"}}), field


@pytest.mark.parametrize(
    ("kind", "newer"),
    [
        ("flag", {"rules": [{"id": "r", "serve": "on", "if": [{"op": "matches", "attribute": "a", "values": ["x"]}]}]}),
        ("flag", {"rules": [{"id": "r", "serve": "on", "about_it": "only fields of the flag itself may be left out"}]}),
        ("flag", {"type": "money"}),
        ("flag", {"default": {"split": [{"variant": "on", "weight_bp": 10_000}], "version": 2}}),
        ("cohort", {"any_of": [[{"op": "matches", "attribute": "a", "values": ["x"]}]]}),
        ("request_class", {"model": {"flag": "route"}}),
        ("request_class", {"tools": ["tools", "more-tools"]}),
        ("response_template", {"text": {"en": "Sorry."}}),
        ("rollout", {"stages": [{"weight_bp": 10_000, "region": "eu"}]}),
    ],
)
def test_what_decides_and_is_unknown_refuses_the_resource(kind: str, newer: dict[str, Any]) -> None:
    assert refused(kind, newer)


def test_a_refused_flag_is_refused_alone() -> None:
    engine = compiled({ResourceRef("flag", "newer"): {**FLAG, "newer": 1}})
    assert evaluate(engine, "newer", {}, default=False).error_code == "PARSE_ERROR"
    assert evaluate(engine, "f", {}, default=False).value is True


def reply(newer: dict[str, Any]) -> Policy:
    return compiled({ResourceRef("request_class", "reply"): {**SPECS["request_class"], **newer}}).policy("reply")


def test_a_newer_request_class_keeps_its_flags_and_an_unknown_choice_is_the_strictest() -> None:
    assert reply({"newer": 1}) == reply({})
    assert reply({"criticality": "vital"}).shed_bp == 10_000
    assert reply({"sensitive": "sometimes"}).sensitive == "human_review"


def test_safe_mode_reaches_a_request_class_that_cannot_be_read() -> None:
    found = reply({"model": {"flag": "route"}})
    assert (found.model, found.error_code, found.safe_mode.profiles) == (None, "PARSE_ERROR", ("calm",))
    assert (found.tools.exclude, found.shed_bp, found.sensitive) == (("shell",), 10_000, "human_review")


@pytest.mark.parametrize(
    ("scope", "spoilt"),
    [
        ({"cohorts": ["beta"]}, ResourceRef("cohort", "beta")),
        ({"providers": ["anthropic"]}, ResourceRef("flag", "route")),
    ],
)
def test_safe_mode_applies_where_its_scope_cannot_be_decided(scope: dict[str, Any], spoilt: ResourceRef) -> None:
    activation = {ResourceRef("safe_mode_activation", "now"): {**SPECS["safe_mode_activation"], "scope": scope}}
    context = {"targeting_key": "u-2"}
    assert not compiled(activation).policy("reply", context).safe_mode.active
    engine = compiled({**activation, spoilt: {**WORLD[spoilt], "newer": 1}})
    assert engine.policy("reply", context).safe_mode.active


def test_a_kind_that_only_a_newer_version_knows_decides_nothing() -> None:
    engine = compiled({ResourceRef("failure_mode", "loops"): {"newer": 1}})
    assert engine.policy("reply") == compiled().policy("reply")
