"""How many retries there are, and how long they wait."""

import random

import pytest

from brownout.model.values import ErrorClass, RetryPolicy
from brownout.model.values import RetryBudget as Budget
from brownout.runner.backoff import backoff_s
from brownout.runner.retry_budget import RetryBudget


def test_retries_stay_a_share_of_the_requests() -> None:
    kept, budget, retried = RetryBudget(), Budget(ratio=0.1), 0
    for number in range(3_000):
        now = number / 100
        kept.request(now, budget)
        retried += kept.take(now, budget)
    assert 297 <= retried <= 303  # windows slide in twentieths


def test_requests_and_retries_older_than_the_time_do_not_count() -> None:
    kept, budget = RetryBudget(), Budget(ratio=0.5, ttl_s=10)
    for _ in range(4):
        kept.request(0.0, budget)
    assert [kept.take(1.0, budget) for _ in range(3)] == [True, True, False]
    assert not kept.take(10.0, budget)
    kept.request(11.0, budget)
    kept.request(11.0, budget)
    assert [kept.take(11.0, budget) for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("fleet", "allowed"), [(1, 40), (4, 10), (None, 2), (20, 2), (41, 0)])
def test_the_floor_is_the_fleets_and_not_each_instances(fleet: int | None, allowed: int) -> None:
    kept, budget = RetryBudget(), Budget(ratio=0, min_per_s=4, ttl_s=10)
    assert sum(kept.take(1.0, budget, fleet) for _ in range(100)) == allowed


def test_without_a_budget_every_retry_is_allowed() -> None:
    assert all(RetryBudget().take(0.0, None) for _ in range(100))


@pytest.mark.parametrize(
    ("error", "waits"),
    [("server_error", [0.1, 0.2, 0.4, 0.8]), ("rate_limited", [1, 2, 4, 8]), ("overloaded", [1, 2, 4, 8])],
)
def test_backoff_doubles_from_its_base(error: ErrorClass, waits: list[float]) -> None:
    assert [backoff_s(RetryPolicy(), error, attempt, 1.0) for attempt in (1, 2, 3, 4)] == pytest.approx(waits)


def test_backoff_is_spread_from_nothing_to_its_length_and_never_beyond_the_longest() -> None:
    chance = random.Random(1)
    policy = RetryPolicy(max_backoff_ms=5_000)
    waits = [backoff_s(policy, "rate_limited", 1_000_000, chance.random()) for _ in range(10_000)]
    assert min(waits) < 0.01
    assert 4.99 < max(waits) <= 5
    assert abs(sum(waits) / len(waits) - 2.5) < 0.1


def test_backoff_without_jitter_is_exact() -> None:
    assert backoff_s(RetryPolicy(jitter="none"), "server_error", 2, 0.0) == 0.2
