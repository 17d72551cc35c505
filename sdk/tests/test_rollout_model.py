"""A rollout is refused unless it can run."""

from typing import Any

import pytest

from brownout.model.check import check, references
from brownout.model.faults import InvalidResource
from brownout.model.kinds import KINDS
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef, Rollout

FLAG = parse(
    "flag",
    "support-model",
    {"type": "string", "variants": {"small": "s", "big": "b"}, "off_variant": "small", "default": "small"},
)
GOOD: dict[str, Any] = {
    "flag": "support-model",
    "control": "small",
    "treatment": "big",
    "stages": [{"weight_bp": 500, "cohort": "beta", "min_units": 100}, {"weight_bp": 10_000}],
    "guardrails": [{"measure": "error"}, {"measure": "quality", "action": "safe_mode", "profile": "calm"}],
    "gates": [{"measure": "refusal"}],
}


def faults(**changed: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidResource) as refused:
        parse("rollout", "new-model", {**GOOD, **changed})
    return [(fault.code, fault.pointer) for fault in refused.value.faults]


def test_a_sound_rollout_is_read_and_written() -> None:
    rollout = parse("rollout", "new-model", GOOD)

    assert isinstance(rollout, Rollout)
    assert rollout.progress.state == "draft"
    assert parse("rollout", "new-model", encode(rollout)) == rollout
    assert KINDS["rollout"].struct is Rollout


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"treatment": "small"}, ("invalid_value", "/treatment")),
        ({"stages": []}, ("invalid_value", "/stages")),
        ({"stages": [{"weight_bp": 0}]}, ("invalid_value", "/stages/0/weight_bp")),
        ({"guardrails": [{"measure": "karma"}]}, ("invalid_value", "/guardrails/0/measure")),
        ({"guardrails": [{"measure": "error", "action": "safe_mode"}]}, ("missing_field", "/guardrails/0/profile")),
        ({"gates": [{"measure": "error"}] * 2}, ("duplicate", "/gates/0/measure")),
        ({"progress": {"state": "running", "stage": 2}}, ("invalid_value", "/progress/stage")),
        ({"alpha": 0}, ("invalid_value", "/alpha")),
        ({"speed": "fast"}, ("unknown_field", "/speed")),
    ],
)
def test_an_unsound_one_is_refused_at_the_place(changed: dict[str, Any], expected: tuple[str, str]) -> None:
    assert expected in faults(**changed)


def test_everything_it_names_must_exist() -> None:
    rollout = parse("rollout", "new-model", {**GOOD, "treatment": "huge"})
    ref = ResourceRef("rollout", "new-model")

    found = check({ref: rollout, ResourceRef("flag", "support-model"): FLAG}, [ref])

    assert {(fault.code, fault.pointer) for fault in found} == {
        ("unknown_reference", "/stages/0/cohort"),
        ("unknown_reference", "/guardrails/1/profile"),
        ("unknown_variant", "/treatment"),
    }
    assert references(rollout) == {
        ResourceRef("flag", "support-model"),
        ResourceRef("cohort", "beta"),
        ResourceRef("safe_mode_profile", "calm"),
    }
