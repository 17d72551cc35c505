"""Who has no usable unit never gets what is being rolled out, and what counts as a unit is the same everywhere."""

import datetime
import decimal
import enum
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.evaluation.decision import ErrorCode, Reason
from brownout.testing import FakeBrownout

UUID = uuid.UUID("0d2c6b0e-6c1f-4f5e-9a35-0d7f8f3f4c11")


class Plan(enum.Enum):
    PRO = "pro"
    ODD = ("a", "tuple")


def client(on_bp: int, **split: Any) -> FakeBrownout:
    fake = FakeBrownout()
    shares = [{"variant": "new", "weight_bp": on_bp}, {"variant": "old", "weight_bp": 10_000 - on_bp}]
    route = {"targets": {"x": {"provider": "p", "model": "m"}}, "primary": "x"}
    fake.put(
        "flag",
        "model",
        {
            "type": "model_route",
            "variants": {"new": route, "old": route},
            "off_variant": "old",
            "default": {"split": shares, **split},
        },
    )
    fake.put("request_class", "reply", {"criticality": "critical", "model": "model"})
    return fake


NO_UNIT = [{}, {"targeting_key": ""}, {"targeting_key": None}, {"targeting_key": 1.5}, {"targeting_key": 7.0},
           {"targeting_key": True}, {"targeting_key": []}, {"targeting_key": {}}]  # fmt: skip


@pytest.mark.parametrize("context", NO_UNIT, ids=repr)
@given(on_bp=st.integers(0, 10_000))
def test_no_usable_unit_never_gets_what_is_being_rolled_out(context: dict[str, Any], on_bp: int) -> None:
    fake = client(on_bp)
    decision = fake.decide("model", context)
    assert (decision.variant, decision.reason, decision.metadata) == ("old", Reason.SPLIT, {"unit_missing": True})
    assert fake.policy("reply", context).provenance["model"].variant == "old"


@pytest.mark.parametrize(
    ("unit", "text"),
    [(UUID, str(UUID)), (decimal.Decimal(42), "42"), (decimal.Decimal("42.0"), "42"), (Plan.PRO, "pro"), (42, "42")],
    ids=str,
)
def test_what_stands_for_a_text_or_an_integer_is_the_same_unit(unit: Any, text: str) -> None:
    fake = client(5_000)
    for seed in range(32):
        fake.put("flag", "model", {**_spec(fake), "default": {**_spec(fake)["default"], "seed": f"s{seed}"}})
        given_, plain = fake.decide("model", {"targeting_key": unit}), fake.decide("model", {"targeting_key": text})
        assert (given_.variant, given_.metadata) == (plain.variant, plain.metadata)
        assert fake.policy("reply", {"targeting_key": unit}).provenance["model"].variant == plain.variant


@pytest.mark.parametrize(
    "unit",
    [datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), b"u-1", object(), Plan.ODD,
     decimal.Decimal("NaN"), float("nan")],
    ids=lambda unit: type(unit).__name__,
)  # fmt: skip
def test_what_json_cannot_carry_is_refused_alike(unit: Any) -> None:
    fake = client(10_000)
    context = {"targeting_key": unit}
    if unit is Plan.ODD:
        assert fake.decide("model", context).metadata == {"unit_missing": True}
        return
    assert fake.decide("model", context).error_code is ErrorCode.INVALID_CONTEXT
    policy = fake.policy("reply", context)
    assert policy.error_code is ErrorCode.INVALID_CONTEXT
    assert policy.provenance["model"].variant == "old"


def test_a_declared_fallback_must_be_a_variant() -> None:
    with pytest.raises(Exception, match="no variant 'gone'"):
        client(5_000, fallback="gone")
    assert client(5_000, fallback="new").decide("model", {}).variant == "new"


def _spec(fake: FakeBrownout) -> dict[str, Any]:
    import msgspec

    from brownout.model.resources import ResourceRef

    return msgspec.json.decode(fake._compiled.resources[ResourceRef("flag", "model")], type=dict[str, Any])
