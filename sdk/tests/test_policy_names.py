"""A restriction never fails for its spelling, and a target that just failed is not the next rung."""

from typing import Any

import pytest

from brownout.testing import FakeBrownout

ROUTE = {
    "targets": {
        "Big": {"provider": "openai", "model": "big"},
        "small": {"provider": "anthropic", "model": "small"},
        "spare": {"provider": "mistral", "model": "spare"},
    },
    "primary": "Big",
}
RUNGS = [
    {"type": "model", "target": "small"},
    {"type": "model", "target": "Big"},
    {"type": "model", "target": "small"},
    {"type": "model", "target": "spare"},
    {"type": "template", "template": "sorry"},
]


def client(profile: dict[str, Any] | None = None, **scope: list[str]) -> FakeBrownout:
    fake = FakeBrownout()
    fake.put("response_template", "sorry", {"text": "Sorry."})
    for key, type_, value in (
        ("model", "model_route", ROUTE),
        ("ladder", "fallback_ladder", {"rungs": RUNGS}),
        ("tools", "tool_policy", {}),
    ):
        fake.put("flag", key, {"type": type_, "variants": {"a": value}, "off_variant": "a", "default": "a"})
    fake.put(
        "request_class", "reply", {"criticality": "critical", "model": "model", "ladder": "ladder", "tools": "tools"}
    )
    if profile is not None:
        fake.put("safe_mode_profile", "p", profile)
        fake.put(
            "safe_mode_activation",
            "a",
            {
                "profile": "p", "reason": "r", "actor": "a", "scope": scope,
                "activated_at": "2026-01-01T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z",
            },
        )  # fmt: skip
    return fake


def names(fake: FakeBrownout, *failed: str) -> list[str]:
    found = fake.policy("reply").ladder.after("timeout", failed)
    return [rung.target.name if rung.target else rung.type for rung in found]


def test_what_just_failed_is_not_the_next_rung() -> None:
    fake = client()
    assert names(fake) == ["small", "small", "spare", "template"]
    assert names(fake, "small") == ["spare", "template"]
    assert names(fake, "small", "spare") == ["template"]


@pytest.mark.parametrize("name", ["openai", "OpenAI", " OPENAI "])
def test_a_provider_is_excluded_and_in_scope_however_it_is_spelled(name: str) -> None:
    excluded = client({"exclude_providers": [name]})
    assert excluded.policy("reply").model.name == "small"  # type: ignore[union-attr]
    assert names(excluded) == ["spare", "template"]
    assert client({"max_temperature": 0.1}, providers=[name]).policy("reply").safe_mode.active
    assert not client({"max_temperature": 0.1}, providers=["other"]).policy("reply").safe_mode.active


@pytest.mark.parametrize("name", ["Big", "big", "BIG "])
def test_a_target_is_excluded_however_it_is_spelled(name: str) -> None:
    assert client({"exclude_targets": [name]}).policy("reply").model.name == "small"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["web_search", "Web_Search", "WEB_*"])
def test_a_tool_is_excluded_however_it_is_spelled(name: str) -> None:
    tools = client({"exclude_tools": [name]}).policy("reply").tools
    assert (tools.allows("web_search"), tools.allows("refund")) == (False, True)
