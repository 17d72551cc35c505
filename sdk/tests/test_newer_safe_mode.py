"""Safe mode that a newer control plane wrote: an SDK of this version applies everything that it can read, never less."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from brownout.evaluation.compile import Compiled
from brownout.model.resources import ResourceRef

ROUTE: dict[str, Any] = {
    "type": "model_route",
    "variants": {"one": {"targets": {"main": {"provider": "openai", "model": "m"}}, "primary": "main"}},
    "off_variant": "one",
    "default": "one",
}
PROFILE: dict[str, Any] = {"exclude_tools": ["*"], "max_attempts": 2, "banner": {"text": "We know."}}
ACTIVATION: dict[str, Any] = {
    "profile": "calm",
    "reason": "it invents refunds",
    "actor": "ann@example.com",
    "activated_at": "2026-01-01T00:00:00Z",
    "expires_at": "2099-01-01T00:00:00Z",
}


def compiled(profile: object, activation: object) -> Compiled:
    specs = {
        ResourceRef("flag", "route"): ROUTE,
        ResourceRef("request_class", "reply"): {"criticality": "critical", "model": "route"},
        ResourceRef("safe_mode_profile", "calm"): profile,
        ResourceRef("safe_mode_activation", "now"): activation,
    }
    return Compiled.load("production", 1, {ref: msgspec.json.encode(spec) for ref, spec in specs.items()})


def test_this_versions_safe_mode_is_in_force() -> None:
    (found,) = compiled(PROFILE, ACTIVATION).active
    assert (found.profile.max_attempts, found.profile.sensitive) == (2, "continue")


@pytest.mark.parametrize(
    ("newer", "field", "read"),
    [
        ({"max_tools": 3}, "max_attempts", 2),
        ({"sensitive": "redact"}, "sensitive", "stop"),
        ({"sensitive": {"action": "redact"}}, "sensitive", "stop"),
        ({"max_attempts": {"per_minute": 3}}, "exclude_tools", ("*",)),
        ({"exclude_tools": ["shell", {"server": "mail"}]}, "exclude_tools", ("shell",)),
        ({"shed_bp": {"critical": 50, "vital": 10}}, "shed_bp", {"critical": 50}),
        ({"shed_bp": {"critical": {"bp": 50}, "sheddable": 10}}, "shed_bp", {"sheddable": 10}),
        ({"banner": "none"}, "max_attempts", 2),
    ],
)
def test_a_newer_profile_keeps_each_limit_that_can_be_read(newer: dict[str, Any], field: str, read: object) -> None:
    (found,) = compiled({**PROFILE, **newer}, ACTIVATION).active
    assert getattr(found.profile, field) == read


def test_a_newer_banner_keeps_its_text_and_an_unknown_level_is_the_most_severe() -> None:
    (found,) = compiled(
        {"banner": {"text": "x", "link": "https://example.com", "level": "emergency"}}, ACTIVATION
    ).active
    assert found.profile.banner is not None
    assert (found.profile.banner.text, found.profile.banner.level) == ("x", "critical")


@pytest.mark.parametrize(
    "newer",
    [
        {"incident_id": "7"},
        {"incident": {"url": "https://example.com"}},
        {"scope": {"regions": ["eu"]}},
        {"scope": ["eu"]},
        {"scope": {"request_classes": {"tag": "chat"}}},
        {"scope": {"request_classes": ["another", {"tag": "chat"}]}},
        {"reason": {"en": "x"}, "actor": {"id": 3}},
        {"on_expiry": "ask"},
        {"expires_at": None},
        {"expires_at": {"after": "P1D"}},
    ],
)
def test_a_newer_activation_is_in_force_and_what_it_cannot_read_of_a_scope_is_everything(newer: dict[str, Any]) -> None:
    engine = compiled(PROFILE, {**ACTIVATION, **newer})
    assert [found.key for found in engine.active] == ["now"]
    assert engine.policy("reply").safe_mode.active is True


def test_an_end_or_a_way_to_end_that_cannot_be_read_never_comes() -> None:
    for newer in ({"expires_at": "when it is over"}, {"on_expiry": "ask"}):
        engine = compiled(PROFILE, {**ACTIVATION, **newer})
        engine.set_now(datetime(2100, 1, 1, tzinfo=UTC))
        assert [found.key for found in engine.active] == ["now"], newer


def test_an_activation_without_a_readable_profile_harms_nothing_else() -> None:
    engine = compiled(PROFILE, {**ACTIVATION, "profile": {"key": "calm"}})
    assert engine.active == ()
    assert engine.policy("reply").error_code is None
