from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.model.resources import Scope
from controlplane.errors import InvalidInputError
from controlplane.safemode.request import ActivationRequest, activation, parse_duration
from controlplane.safemode.values import describe_scope

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LONGEST = timedelta(hours=168)
GOOD = {"profile": "contain", "reason": "INC-1", "for_s": 600}


def refused(**changes: object) -> dict[str, str]:
    """Pointer → code of every fault."""
    with pytest.raises(InvalidInputError) as error:
        activation(ActivationRequest(**(GOOD | changes)), "mara", NOW, LONGEST)  # type: ignore[arg-type]
    return {fault.pointer: fault.code for fault in error.value.faults}


def test_it_says_who_why_and_until_when() -> None:
    made = activation(ActivationRequest(**GOOD), "mara", NOW, LONGEST)  # type: ignore[arg-type]
    assert (made.actor, made.reason, made.activated_at) == ("mara", "INC-1", NOW)
    assert made.expires_at == NOW + timedelta(minutes=10)


def test_an_instant_is_kept_in_utc() -> None:
    end = datetime(2026, 11, 22, 14, 0, tzinfo=timezone(timedelta(hours=1)))
    made = activation(ActivationRequest("contain", "x", expires_at=end), "mara", NOW, LONGEST)
    assert made.expires_at.isoformat() == "2026-11-22T13:00:00+00:00"


def test_everything_missing_is_named_at_once() -> None:
    assert refused(profile="", reason="  ", for_s=None) == {
        "/profile": "required",
        "/reason": "required",
        "/expires_at": "required",
    }


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"for_s": None, "expires_at": NOW - timedelta(seconds=1)}, "/expires_at", "expired"),
        ({"for_s": None, "expires_at": NOW}, "/expires_at", "expired"),
        ({"for_s": None, "expires_at": NOW + timedelta(days=30)}, "/expires_at", "invalid_value"),
        ({"for_s": None, "expires_at": datetime(2026, 11, 23)}, "/expires_at", "invalid_value"),  # noqa: DTZ001
        ({"for_s": 600, "expires_at": NOW + timedelta(hours=1)}, "/expires_at", "required"),
        ({"for_s": 1}, "/for_s", "invalid_value"),
        ({"for_s": -600}, "/for_s", "invalid_value"),
        ({"for_s": 10**12}, "/for_s", "invalid_value"),
        ({"reason": "x" * 2001}, "/reason", "too_long"),
    ],
)
def test_a_bad_end_or_reason_is_refused(changes: dict[str, object], pointer: str, code: str) -> None:
    assert refused(**changes)[pointer] == code


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), (" 5M ", 300)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@given(st.text(max_size=8))
def test_other_durations_are_refused_not_misread(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except InvalidInputError:
        return
    assert any(unit in text.lower() for unit in "dhms")


def test_a_scope_in_words() -> None:
    assert describe_scope(Scope()) == "everything"
    assert describe_scope(Scope(services=("a", "b"), cohorts=("beta",))) == "services a, b; cohorts beta"
