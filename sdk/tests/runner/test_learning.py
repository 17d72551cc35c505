"""What is learned of a target: its concurrency, its latency, its tokens."""

import random
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.model.resources import Criticality
from brownout.runner.estimate import Estimate
from brownout.runner.latency import FirstToken
from brownout.runner.limiter import MOST, SHARES, Limiter


@pytest.mark.parametrize(
    ("criticality", "places"), [("sheddable", 50), ("sheddable_plus", 70), ("critical", 90), ("critical_plus", 100)]
)
def test_each_criticality_fills_its_share(criticality: Criticality, places: int) -> None:
    limiter = Limiter(100)
    assert sum(limiter.acquire(criticality) for _ in range(200)) == places


def test_the_last_places_are_for_what_matters() -> None:
    limiter = Limiter(100)
    admitted = Counter(criticality for criticality in SHARES for _ in range(200) if limiter.acquire(criticality))
    assert admitted == {"critical_plus": 100}
    limiter = Limiter(100)
    admitted = Counter(each for each in reversed(SHARES) for _ in range(200) if limiter.acquire(each))
    assert admitted == {"sheddable": 50, "sheddable_plus": 20, "critical": 20, "critical_plus": 10}


def test_a_limit_of_one_still_admits_one_of_any_criticality() -> None:
    for criticality in SHARES:
        assert Limiter(1).acquire(criticality)


def test_the_limit_grows_by_one_for_each_limit_of_answers_while_it_is_used() -> None:
    limiter = Limiter(10)
    for _ in range(10):
        limiter.acquire("critical_plus")
    for _ in range(10):
        limiter.release("ok")
        limiter.acquire("critical_plus")
    assert 10.9 < limiter.limit < 11
    idle = Limiter(10)
    for _ in range(1_000):
        idle.acquire("critical_plus")
        idle.release("ok")
    assert idle.limit == 10


def test_one_overload_lowers_it_once_however_many_were_in_flight() -> None:
    limiter = Limiter(10)
    for _ in range(10):
        limiter.acquire("critical_plus")
    for _ in range(10):
        limiter.release("overloaded")
    assert limiter.limit == 7
    limiter.acquire("critical_plus")
    limiter.release("ramp")
    assert limiter.limit == 3.5


@given(st.lists(st.sampled_from(["acquire", "ok", "overloaded", "ramp", "unknown"]), max_size=300))
def test_the_limit_stays_in_its_range_and_so_do_the_places(events: list[str]) -> None:
    limiter, held = Limiter(), 0
    for event in events:
        if event == "acquire":
            held += limiter.acquire("critical_plus")
        elif held:
            held -= 1
            limiter.release(event)  # type: ignore[arg-type]
        assert 1 <= limiter.limit <= MOST
        assert limiter.in_flight == held


def test_threads_lose_no_place() -> None:
    limiter = Limiter(1_000)

    def work() -> None:
        for _ in range(2_000):
            if limiter.acquire("critical"):
                limiter.release("ok")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limiter.in_flight == 0


def test_the_first_token_is_awaited_four_times_as_long_as_it_usually_takes() -> None:
    first = FirstToken()
    assert first.limit_s() == 30
    for _ in range(20):
        first.observe(1.0)
    assert first.limit_s() == pytest.approx(4, rel=0.03)
    assert first.limit_s(900) == 0.9


@pytest.mark.parametrize(("usual_s", "limit_s"), [(0.01, 2.0), (20.0, 30.0), (0.0, 2.0), (float("nan"), 2.0)])
def test_it_stays_between_two_seconds_and_thirty(usual_s: float, limit_s: float) -> None:
    first = FirstToken()
    for _ in range(100):
        first.observe(usual_s)
    assert first.limit_s() == limit_s


def test_a_target_that_became_slower_is_given_more_time_and_what_was_is_forgotten() -> None:
    first = FirstToken()
    for _ in range(1_000):
        first.observe(0.2)
    assert first.limit_s() == 2
    for _ in range(200):
        first.observe(first.limit_s())  # each attempt hangs, and is counted as long as it was waited for
    assert first.limit_s() > 7
    for _ in range(1_100):
        first.observe(0.2)
    assert first.limit_s() == 2


def test_an_outage_of_minutes_does_not_make_the_wait_longer() -> None:
    first = FirstToken()
    for _ in range(400):
        first.observe(0.3)
    for _ in range(12):  # the hangs that open a breaker, and its probes
        first.observe(first.limit_s())
    assert first.limit_s() == 2


def test_the_estimate_starts_at_three_and_a_half_characters_and_ten_per_cent() -> None:
    assert Estimate().tokens(3_500) == 1_100
    assert Estimate().tokens(0) == 0


@pytest.mark.parametrize("true", [1.0, 2.2, 4.4, 6.0])
def test_the_estimate_learns_what_the_provider_counts(true: float) -> None:
    estimate, chance = Estimate(), random.Random(true)
    for _ in range(200):
        tokens = chance.randint(50, 3_000)
        estimate.learn(round(tokens * true * chance.uniform(0.9, 1.1)), tokens)
    assert estimate.tokens(100_000) == pytest.approx(100_000 / true * 1.1, rel=0.03)


@given(st.lists(st.tuples(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12)), max_size=50))
def test_impossible_counts_do_not_lead_it_astray(pairs: list[tuple[int, int]]) -> None:
    estimate = Estimate()
    for characters, tokens in pairs:
        estimate.learn(characters, tokens)
    assert 1_000 / 20 <= estimate.tokens(1_000) <= 1_000 / 0.25 * 1.1 + 1
