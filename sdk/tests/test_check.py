"""Faults between resources: each found from the resource that was touched, at its own pointer."""

from datetime import UTC, datetime
from typing import Any

import pytest

from brownout.model.check import check, references
from brownout.model.parse import parse
from brownout.model.resources import ResourceRef, Spec

SPECS: dict[tuple[str, str], dict[str, Any]] = {
    ("cohort", "beta"): {"include": ["u-1"]},
    ("response_template", "sorry"): {"text": "Sorry."},
    ("flag", "route"): {
        "type": "model_route",
        "variants": {
            "big": {
                "targets": {
                    "main": {"provider": "openai", "model": "big", "max_context_tokens": 1000},
                    "spare": {"provider": "anthropic", "model": "mid"},
                },
                "primary": "main",
            }
        },
        "off_variant": "big",
        "default": "big",
        "safe_variant": "big",
        "rules": [{"id": "beta", "if": [{"op": "in_cohort", "values": ["beta"]}], "serve": "big"}],
    },
    ("flag", "ladder"): {
        "type": "fallback_ladder",
        "variants": {"l": {"rungs": [{"type": "model", "target": "spare"}, {"type": "template", "template": "sorry"}]}},
        "off_variant": "l",
        "default": "l",
    },
    ("flag", "budget"): {
        "type": "token_budget",
        "variants": {"b": {"per_request": {"max_input_tokens": 800, "max_output_tokens": 200}}},
        "off_variant": "b",
        "default": "b",
    },
    ("request_class", "reply"): {"criticality": "critical", "model": "route", "ladder": "ladder", "budget": "budget"},
    ("safe_mode_profile", "calm"): {"serve_safe_variant": ["route"]},
    ("safe_mode_activation", "now"): {
        "profile": "calm",
        "reason": "outage",
        "actor": "ada",
        "activated_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "scope": {"request_classes": ["reply"], "cohorts": ["beta"]},
    },
}


def environment(**changes: dict[str, Any]) -> dict[ResourceRef, Spec]:
    specs = {**SPECS}
    for name, change in changes.items():
        ref = next(ref for ref in specs if ref[1] == name)
        specs[ref] = specs[ref] | change
    return {ResourceRef(*ref): parse(*ref, spec) for ref, spec in specs.items()}


def test_a_sound_environment_has_no_faults() -> None:
    resources = environment()
    assert check(resources, resources) == ()


def test_references_name_everything_a_spec_needs() -> None:
    resources = environment()
    found = {str(ref.key): references(spec) for ref, spec in resources.items()}
    assert found["route"] == {("cohort", "beta")}
    assert found["ladder"] == {("response_template", "sorry")}
    assert found["reply"] == {("flag", "route"), ("flag", "ladder"), ("flag", "budget")}
    assert found["calm"] == {("flag", "route")}
    assert found["now"] == {("safe_mode_profile", "calm"), ("request_class", "reply"), ("cohort", "beta")}


@pytest.mark.parametrize(
    ("gone", "touched", "pointer"),
    [
        (("cohort", "beta"), ("flag", "route"), "/rules/0/if/0/values/0"),
        (("cohort", "beta"), ("safe_mode_activation", "now"), "/scope/cohorts/0"),
        (("response_template", "sorry"), ("flag", "ladder"), "/variants/l/rungs/1/template"),
        (("flag", "budget"), ("request_class", "reply"), "/budget"),
        (("flag", "route"), ("safe_mode_profile", "calm"), "/serve_safe_variant/0"),
        (("safe_mode_profile", "calm"), ("safe_mode_activation", "now"), "/profile"),
        (("request_class", "reply"), ("safe_mode_activation", "now"), "/scope/request_classes/0"),
    ],
)
def test_a_dangling_reference_is_a_fault_of_who_refers(
    gone: tuple[str, str], touched: tuple[str, str], pointer: str
) -> None:
    resources = environment()
    del resources[ResourceRef(*gone)]
    (fault,) = check(resources, [ResourceRef(*touched), ResourceRef(*gone)])
    assert (fault.code, fault.pointer) == ("unknown_reference", pointer)
    assert (fault.kind, fault.key) == touched


@pytest.mark.parametrize(
    ("changes", "touched", "code", "pointer"),
    [
        ({"reply": {"budget": "ladder"}}, ("request_class", "reply"), "wrong_reference_type", "/budget"),
        ({"ladder": {"variants": {"l": {"rungs": [{"type": "model", "target": "x"}]}}}}, ("request_class", "reply"), "missing_target", "/ladder"),
        ({"budget": {"variants": {"b": {"per_request": {"max_input_tokens": 1001}}}}}, ("request_class", "reply"), "over_window", "/budget"),
        ({"budget": {"variants": {"b": {"window": {"unit": "usd_micros", "limit": 1, "per": "day"}}}}}, ("request_class", "reply"), "missing_price", "/budget"),
        ({"calm": {"serve_safe_variant": ["budget"]}}, ("safe_mode_profile", "calm"), "unknown_variant", "/serve_safe_variant/0"),
    ],
)  # fmt: skip
def test_the_flags_of_a_request_class_fit_together(
    changes: dict[str, dict[str, Any]], touched: tuple[str, str], code: str, pointer: str
) -> None:
    (fault,) = check(environment(**changes), [ResourceRef(*touched)])
    assert (fault.code, fault.pointer) == (code, pointer)


def test_an_activation_that_has_already_expired_is_refused_when_the_time_is_given() -> None:
    resources, touched = environment(), [ResourceRef("safe_mode_activation", "now")]
    assert check(resources, touched, now=datetime(2026, 1, 1, 12, tzinfo=UTC)) == ()
    (fault,) = check(resources, touched, now=datetime(2026, 1, 2, tzinfo=UTC))
    assert (fault.code, fault.pointer) == ("expired", "/expires_at")
