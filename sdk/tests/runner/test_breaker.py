"""When a target is given up, and how it comes back."""

import random

import pytest

from brownout.model.values import ErrorClass
from brownout.runner.breaker import Breaker


def middle() -> float:
    return 0.5


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(middle)
    for _ in range(5):
        breaker.failure(now, "server_error")
    return breaker


def test_five_failures_and_nothing_else_open_it() -> None:
    breaker = Breaker(middle)
    for at in range(4):
        breaker.failure(at, "server_error")
        assert breaker.admit(at, True) == "admitted"
    breaker.failure(4, "overloaded")
    assert breaker.admit(4, True) == "refused"
    assert breaker.state(4) == "open"


def test_failures_among_successes_open_it_when_they_lead_by_sixteen() -> None:
    breaker = Breaker(middle)
    breaker.success(0)
    for at in range(1, 16):
        breaker.failure(at / 10, "server_error")
    breaker.success(1.6)
    breaker.failure(1.7, "server_error")
    assert breaker.state(2) == "closed"
    breaker.failure(1.8, "server_error")
    assert breaker.state(2) == "open"


def test_old_failures_are_forgotten() -> None:
    breaker = Breaker(middle)
    breaker.success(0)
    for at in range(15):
        breaker.failure(at, "server_error")
    breaker.failure(45, "server_error")
    assert breaker.state(45) == "closed"


def test_three_hangs_in_a_row_open_it() -> None:
    breaker = Breaker(middle)
    for outcome in ("hang", "hang", "answer", "hang", "hang"):
        breaker.success(0) if outcome == "answer" else breaker.failure(0, "timeout")
    assert breaker.state(0) == "closed"
    breaker.failure(0, "timeout")
    assert breaker.state(0) == "open"


def test_a_caller_in_a_hurry_says_nothing_of_the_target() -> None:
    breaker = Breaker(middle)
    for _ in range(100):
        breaker.failure(0, "timeout", waited_own_limit=False)
    assert breaker.state(0) == "closed"


@pytest.mark.parametrize(
    "error", ["bad_request", "refusal", "content_filter", "context_window", "rate_limited", "auth"]
)
def test_an_answer_is_not_an_outage(error: ErrorClass) -> None:
    breaker = Breaker(middle)
    for _ in range(100):
        breaker.failure(0, error)
    assert breaker.state(0) == "closed"


def test_one_request_at_a_time_probes_and_only_one_that_has_another_rung() -> None:
    breaker = opened()
    assert breaker.admit(4.9, True) == "refused"
    assert breaker.admit(5.0, False) == "refused"
    assert breaker.admit(5.0, True) == "probe"
    assert breaker.admit(5.1, True) == "refused"


def test_where_no_request_has_another_rung_any_may_probe_after_twice_the_time() -> None:
    breaker = opened()
    assert breaker.admit(9.9, False) == "refused"
    assert breaker.admit(10.0, False) == "probe"


def test_a_probe_that_is_cancelled_or_lost_makes_room_for_another() -> None:
    breaker = opened()
    assert breaker.admit(5, True) == "probe"
    breaker.abandoned("probe")
    assert breaker.admit(5, True) == "probe"
    assert breaker.admit(124, True) == "refused"
    assert breaker.admit(125, True) == "probe"


def test_each_failed_probe_doubles_the_time_up_to_thirty_seconds() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(5):
        since = now
        while breaker.admit(now, True) == "refused":
            now += 0.25
        breaker.failure(now, "server_error", admission="probe")
        waits.append(now - since)
    assert waits == [5, 10, 20, 30, 30]


def test_the_time_is_jittered_by_a_fifth() -> None:
    for chance, seconds in ((0.0, 4.0), (1.0, 6.0)):
        breaker = Breaker(lambda chance=chance: chance)  # type: ignore[misc]
        for _ in range(5):
            breaker.failure(0, "server_error")
        assert breaker.admit(seconds - 0.01, True) == "refused"
        assert breaker.admit(seconds + 0.01, True) == "probe"


def test_late_outcomes_of_older_attempts_change_nothing_while_it_is_open() -> None:
    breaker = opened()
    breaker.success(1)
    breaker.failure(1, "timeout")
    assert breaker.admit(4.9, True) == "refused"
    assert breaker.admit(5, True) == "probe"


def test_a_probe_that_is_answered_with_a_refusal_shows_that_the_target_lives() -> None:
    breaker = opened()
    breaker.admit(5, True)
    breaker.failure(5, "refusal", admission="probe")
    assert breaker.state(5) == "recovering"


def test_traffic_returns_in_ten_seconds_and_never_below_a_fifth() -> None:
    chance = random.Random(1)
    breaker = Breaker(chance.random)
    for _ in range(5):
        breaker.failure(0, "server_error")
    breaker.admit(10, True)
    breaker.success(10, "probe")
    for at, share in ((10.0, 0.2), (11.0, 0.2), (15.0, 0.5), (19.0, 0.9), (20.0, 1.0)):
        admitted = sum(breaker.admit(at, True) == "admitted" for _ in range(4_000)) / 4_000
        assert abs(admitted - share) < 0.03
    assert breaker.state(20) == "closed"


def test_while_it_recovers_a_lead_of_five_opens_it_again_and_longer() -> None:
    breaker = opened()
    breaker.admit(5, True)
    breaker.success(5, "probe")
    breaker.success(6)
    for _ in range(5):
        breaker.failure(7, "server_error")
    assert breaker.admit(16.9, True) == "refused"
    assert breaker.admit(17, True) == "probe"


@pytest.mark.parametrize("share", [0.02, 0.25])
@pytest.mark.parametrize("per_s", [0.1, 0.5, 1.0, 5.0, 20.0])
def test_background_errors_never_open_it(share: float, per_s: float) -> None:
    """Forty instances, six hours or 10,000 requests each, Poisson arrivals. Each has had an answer before: the first
    five attempts of an instance fail together once in a thousand starts at 25 %, and open it."""
    chance = random.Random(f"{share} {per_s}")
    openings = 0
    for _ in range(40):
        breaker, now = Breaker(chance.random), 0.0
        breaker.success(now)
        for _ in range(min(round(6 * 3600 * per_s), 10_000)):
            now += chance.expovariate(per_s)
            breaker.failure(now, "server_error") if chance.random() < share else breaker.success(now)
            if breaker.state(now) == "open":
                openings += 1
                break
    assert openings == 0


@pytest.mark.parametrize("share", [0.7, 0.9, 1.0])
def test_an_outage_after_healthy_hours_opens_it(share: float) -> None:
    chance = random.Random(share)
    needed = []
    for _ in range(200):
        breaker, now = Breaker(chance.random), 0.0
        for _ in range(100):
            now += 0.5
            breaker.success(now)
        attempts = 0
        while breaker.state(now) == "closed":
            now, attempts = now + 0.5, attempts + 1
            breaker.failure(now, "server_error") if chance.random() < share else breaker.success(now)
        needed.append(attempts)
    assert sorted(needed)[100] <= {0.7: 45, 0.9: 22, 1.0: 16}[share]
