"""What a process learns of its targets, all of it together."""

import pytest

from brownout.model.values import ErrorClass, RetryBudget, RetryPolicy
from brownout.runner import Failed
from brownout.runner.breaker import HANGS
from brownout.runner.calls import Reason
from brownout.runner.health import Health, Permit
from sdk.tests.runner.served import made

POLICY = made()
assert POLICY.model is not None
TARGET = POLICY.model


def health(fleet: int | None = None) -> Health:
    return Health(lambda: 0.5, lambda: 1_000.0, lambda: fleet)


def fail(subject: Health, error: ErrorClass, *, hung: bool, reason: Reason | None = None) -> None:
    permit = subject.admit(POLICY, TARGET, 10.0, spare=True)
    assert isinstance(permit, Permit)
    permit.failed(10.0, Failed(error, reason=reason), hung=hung)


@pytest.mark.parametrize(
    ("hung", "reason", "opens"), [(True, None, True), (False, "gateway", True), (False, None, False)]
)
def test_a_gateway_that_gave_up_has_waited_in_full(hung: bool, reason: Reason | None, opens: bool) -> None:
    subject = health()
    for _ in range(HANGS):
        fail(subject, "timeout", hung=hung, reason=reason)

    assert (subject.admit(POLICY, TARGET, 10.0, spare=True) == "overloaded") is opens


def test_a_gateways_timeout_says_nothing_of_how_long_the_first_token_takes() -> None:
    subject = health()
    before = subject.admit(POLICY, TARGET, 10.0)
    assert isinstance(before, Permit)
    before.cancel()
    fail(subject, "timeout", hung=True, reason="gateway")

    after = subject.admit(POLICY, TARGET, 10.0)
    assert isinstance(after, Permit)
    assert after.first_token_s == before.first_token_s


@pytest.mark.parametrize(("fleet", "retries"), [(None, 3), (1, 60), (6, 10), (600, 0)])
def test_the_fleet_shares_the_floor_of_the_retry_budget(fleet: int | None, retries: int) -> None:
    policy = made(retry=RetryPolicy(2, retry_budget=RetryBudget(ratio=0.0, min_per_s=6.0, ttl_s=10)))
    subject = health(fleet)

    assert sum(subject.retry(policy, 10.0) for _ in range(100)) == retries


def test_draining_has_one_room_a_target() -> None:
    subject = health()
    assert subject.room(TARGET, lambda: 10.0) is subject.room(TARGET, lambda: 10.0)
    for _ in range(HANGS):
        fail(subject, "timeout", hung=True)

    assert not subject.room(TARGET, lambda: 10.0).enter(), "its breaker is open"
