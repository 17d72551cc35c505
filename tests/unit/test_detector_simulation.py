"""The detector on seeded simulations, with the naive rules beside it: the figures that it is chosen by.

Objective 5 %, healthy 2 %. Time is counted in slices of ten seconds; nothing depends on how fast a machine is.
"""

import math
import random
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from controlplane.evidence.detectors import (
    DAY_S,
    SLICE_S,
    Count,
    DetectorSettings,
    begin,
    likelihood_ratios,
    look,
    run,
    step,
)

ACTIVATE = DetectorSettings(objective=0.05, quiet_days=90)
DAY = DAY_S // SLICE_S


def poisson(chance: random.Random, mean: float) -> int:
    """Knuth's, which is quick for the small means here."""
    limit, product, number = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        number += 1
    return number


def traffic(seed: int, rate: float, share: float, *, bursty: bool = False) -> Iterator[Count]:
    """Slices of `rate` requests a second. Bursty: the requests of a slice agree with a correlation of 0.05."""
    chance = random.Random(seed)
    spread = (1 - 0.05) / 0.05
    while True:
        requests = poisson(chance, rate * SLICE_S)
        here = chance.betavariate(share * spread, (1 - share) * spread) if bursty and requests else share
        yield Count(requests, sum(chance.random() < here for _ in range(requests)))


Rule = Callable[[list[Count]], list[int]]


def threshold_rule(counts: list[Count]) -> list[int]:
    """More than 10 % bad in five minutes, of at least 20 requests."""
    fired, seen, bad, above = [], 0, 0, False
    for place, count in enumerate(counts):
        seen, bad = seen + count.requests, bad + count.bad
        if place >= 30:
            seen, bad = seen - counts[place - 30].requests, bad - counts[place - 30].bad
        now = seen >= 20 and bad > seen / 10
        if now and not above:
            fired.append(place)
        above = now
    return fired


def ewma_rule(counts: list[Count]) -> list[int]:
    """Exponentially weighted mean of the share, three standard deviations above what is usual."""
    fired, mean, above, weight = [], 0.02, False, 0.2
    for place, count in enumerate(counts):
        if not count.requests:
            continue
        mean += weight * (count.bad / count.requests - mean)
        deviation = math.sqrt(0.02 * 0.98 / count.requests * weight / (2 - weight))
        now = mean > 0.02 + 3 * deviation
        if now and not above:
            fired.append(place)
        above = now
    return fired


def burn_rule(counts: list[Count]) -> list[int]:
    """14.4 times the budget of a 99.5 % objective's hour and five minutes, as the SRE workbook has it, for 5 %."""
    fired, above = [], False
    hour, five = [0, 0], [0, 0]
    for place, count in enumerate(counts):
        for window, length in ((hour, 360), (five, 30)):
            window[0] += count.requests
            window[1] += count.bad
            if place >= length:
                window[0] -= counts[place - length].requests
                window[1] -= counts[place - length].bad
        now = all(seen and bad / seen > min(14.4 * 0.05, 0.99) for seen, bad in (hour, five))
        if now and not above:
            fired.append(place)
        above = now
    return fired


def detector(counts: list[Count]) -> list[int]:
    return run(ACTIVATE, counts)


def false_alarms(rule: Rule, seed: int, rate: float, days: int, *, bursty: bool = False) -> int:
    return len(rule(list(islice(traffic(seed, rate, 0.02, bursty=bursty), days * DAY))))


def seconds_until(rule: Rule, seed: int, rate: float, share: float, most: int = 360) -> float:
    """From the change to the alarm, after an hour of health; infinite when there is none within `most` slices."""
    healthy = list(islice(traffic(seed, rate, 0.02), 360))
    broken = list(islice(traffic(seed + 1, rate, share), most))
    after = [place for place in rule(healthy + broken) if place >= 360]
    return (after[0] - 360 + 1) * SLICE_S if after else math.inf


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


CALM = {"detector": detector, "threshold": threshold_rule, "burn": burn_rule, "ewma": ewma_rule}


def test_at_little_traffic_naive_rules_cry_wolf_and_this_one_does_not() -> None:
    """Ten days at 0.05 requests a second."""
    counts = list(islice(traffic(1, 0.05, 0.02), 10 * DAY))
    alarms = {name: len(rule(counts)) for name, rule in CALM.items()}
    assert (alarms["detector"], alarms["burn"]) == (0, 0)
    assert alarms["threshold"] >= 8, "more than one a day"
    assert alarms["ewma"] >= 400


@pytest.mark.parametrize("bursty", [False, True])
def test_at_one_request_a_second_a_plain_threshold_is_as_good(*, bursty: bool) -> None:
    counts = list(islice(traffic(2, 1, 0.02, bursty=bursty), 3 * DAY))
    alarms = {name: len(rule(counts)) for name, rule in CALM.items()}
    assert (alarms["detector"], alarms["threshold"], alarms["burn"]) == (0, 0, 0)
    assert alarms["ewma"] > (300 if bursty else 150)


def test_an_outage_is_found_in_seconds_and_a_fifth_in_minutes() -> None:
    found = {
        (name, share): median([seconds_until(rule, seed, 1, share) for seed in range(0, 22, 2)])
        for name, rule in CALM.items()
        for share in (0.7, 0.2)
    }
    assert found["detector", 0.7] <= 40
    assert found["detector", 0.2] <= 160
    assert found["detector", 0.7] <= found["threshold", 0.7] + 10
    assert found["ewma", 0.7] <= 20, "fast, as everything that cries wolf is"
    assert found["burn", 0.7] == found["burn", 0.2] == math.inf, "not within an hour"


def test_without_the_bound_on_a_slice_bursts_would_fire_it() -> None:
    """A burst of one slice is never enough, whatever it holds."""
    state = begin(ACTIVATE)
    for count in (Count(100, 2), Count(100_000, 100_000), Count(100, 2)):
        state = step(ACTIVATE, state, count)
        assert not look(ACTIVATE, state).fires
    assert all(ratio <= ACTIVATE.threshold ** (1 / 3) * 1.001 for ratio in likelihood_ratios(ACTIVATE, Count(50, 50)))


@pytest.mark.parametrize(("requests", "share"), [(1, 0.05), (7, 0.05), (40, 0.05), (12, 0.01)])
def test_evidence_is_a_supermartingale_up_to_the_objective(requests: int, share: float) -> None:
    """Exactly, by summing over everything that a slice can count: that is what keeps the promise."""
    binomial = [math.comb(requests, bad) * share**bad * (1 - share) ** (requests - bad) for bad in range(requests + 1)]
    ratios = [likelihood_ratios(ACTIVATE, Count(requests, bad)) for bad in range(requests + 1)]
    for which in range(len(ACTIVATE.shares)):
        mean = sum(chance * ratio[which] for chance, ratio in zip(binomial, ratios, strict=True))
        assert mean <= 1 + 1e-12


def test_at_the_objective_itself_it_keeps_its_promise_and_is_not_deaf() -> None:
    """Six quiet hours are promised, and a week at exactly the objective keep them."""
    settings = DetectorSettings(objective=0.05, quiet_days=0.25, correlation=0)
    fired = run(settings, list(islice(traffic(5, 0.5, 0.05), 7 * DAY)))
    assert 1 <= len(fired) <= 7 / settings.quiet_days


def test_it_says_when_it_began_and_how_bad_it_is() -> None:
    state = begin(ACTIVATE)
    for count in [*islice(traffic(3, 1, 0.02), 500), *islice(traffic(4, 1, 0.25), 60)]:
        state = step(ACTIVATE, state, count)
    found = look(ACTIVATE, state)
    assert found.fires
    assert abs(found.began - 500) <= 6
    assert found.share == 0.25


def test_silence_and_nonsense_are_no_evidence() -> None:
    state = begin(ACTIVATE)
    for count in (Count(0, 0), Count(0, 5), Count(-3, 7)):
        assert likelihood_ratios(ACTIVATE, count) == [1.0] * 4
        state = step(ACTIVATE, state, count)
    assert likelihood_ratios(ACTIVATE, Count(3, 99)) == likelihood_ratios(ACTIVATE, Count(3, 3))
    assert look(ACTIVATE, state).evidence == 3, "the number of slices"
    for wrong in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="share"):
            begin(DetectorSettings(objective=wrong, quiet_days=7))
    with pytest.raises(ValueError, match="quiet"):
        begin(DetectorSettings(objective=0.05, quiet_days=0))
