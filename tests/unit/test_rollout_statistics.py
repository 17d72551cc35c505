"""The statistics against independent computations: exact fractions, closed forms, sampled data."""

import math
from fractions import Fraction
from statistics import mean, variance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.evidence.means import MIN_UNITS, Moments, difference
from controlplane.evidence.samples import THRESHOLD, mismatch_evidence
from controlplane.evidence.shares import LIFTS, ShareTest, Window, units_needed

windows = st.lists(
    st.builds(
        Window,
        treatment=st.integers(0, 60),
        control=st.integers(0, 200),
        treatment_bad=st.integers(0, 12),
        control_bad=st.integers(0, 12),
    ),
    max_size=8,
)


def exact_evidence(seen: list[Window], ratio: Fraction, lifts: tuple[Fraction, ...]) -> Fraction:
    """The mean over lifts of products of binomial likelihood ratios, in exact arithmetic."""
    products = []
    for lift in lifts:
        product = Fraction(1)
        for w in seen:
            if not (w.treatment and w.control):
                continue
            odds = Fraction(w.treatment, w.control)
            null, other = odds * ratio / (odds * ratio + 1), odds * ratio * lift / (odds * ratio * lift + 1)
            product *= (other / null) ** w.treatment_bad * ((1 - other) / (1 - null)) ** w.control_bad
        products.append(product)
    return sum(products, Fraction(0)) / len(products)


@given(windows)
def test_the_guardrail_equals_exact_likelihood_ratios(seen: list[Window]) -> None:
    test = ShareTest(1.25)
    for window in seen:
        test.add(window)

    exact = exact_evidence(seen, Fraction(5, 4), tuple(Fraction(str(lift)) for lift in LIFTS))

    assert test.log_evidence == pytest.approx(math.log(exact), abs=1e-9)


@given(windows)
def test_the_gate_equals_exact_likelihood_ratios_of_the_reversed_alternatives(seen: list[Window]) -> None:
    test = ShareTest(2.0, against="worse")
    for window in seen:
        test.add(window)

    exact = exact_evidence(seen, Fraction(2), tuple(1 / Fraction(str(lift)) for lift in LIFTS))

    assert test.log_evidence == pytest.approx(math.log(exact), abs=1e-9)


def test_no_exposure_in_one_arm_says_nothing() -> None:
    test = ShareTest(1.25)
    assert [test.add(window) for window in (Window(100, 0, 50, 0), Window(0, 100, 0, 50))] == [1.0, 1.0]


def test_overwhelming_evidence_does_not_overflow() -> None:
    test = ShareTest(1.25)

    assert test.add(Window(10_000, 10_000, 9_000, 1)) == pytest.approx(math.exp(690.0))


def test_units_needed_is_none_when_the_treatment_is_no_worse_than_allowed() -> None:
    assert units_needed(0.02, 0.1, allowed=1.25, actual=1.0, threshold=20) is None
    assert units_needed(0.0, 0.1, allowed=1.25, actual=5.0, threshold=20) is None
    assert units_needed(0.02, 1.0, allowed=1.25, actual=5.0, threshold=20) is None


def moments(values: list[float]) -> Moments:
    return Moments(len(values), sum(values), sum(v * v for v in values))


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50))
def test_moments_agree_with_the_standard_library(values: list[float]) -> None:
    assert moments(values).mean == pytest.approx(mean(values), abs=1e-6)
    assert moments(values).variance == pytest.approx(variance(values), abs=1e-3)


def test_no_difference_is_claimed_before_both_arms_have_enough_units() -> None:
    enough, few = Moments(MIN_UNITS, 10.0, 10.0), Moments(MIN_UNITS - 1, 10.0, 10.0)

    assert difference(enough, few, 0.05) is None
    assert difference(enough, enough, 0.05) is not None


def test_the_half_width_is_the_published_boundary() -> None:
    arm = Moments(2_500, 0.0, 2_499.0)
    alpha, n = 0.05, 5_000

    log = -2 * math.log(2 * alpha)
    rho = math.sqrt((log + math.log(log + 1)) / 5_000)
    inner = 2 * (n * rho**2 + 1) / (n * rho) ** 2 * math.log(1 + math.sqrt(n * rho**2 + 1) / (2 * alpha))
    half_width = math.sqrt(1 / 2_500 + 1 / 2_500) * math.sqrt(n) * math.sqrt(inner)

    found = difference(arm, arm, alpha)
    assert found is not None
    assert found.upper == pytest.approx(half_width)
    assert found.lower == pytest.approx(-half_width)


def test_means_accuse_an_equal_treatment_at_most_alpha_of_the_time_over_all_looks() -> None:
    """Skewed data (log-normal), 10 % treatment, a look every 200 units up to 10,000."""
    random = np.random.default_rng(11)
    runs, looks, per_look = 1_500, 50, 200
    accused = 0
    for _ in range(runs):
        values = random.lognormal(0.0, 0.5, (looks, per_look))
        split = per_look // 10
        sums = [np.cumsum(part.sum(axis=1)) for part in (values[:, :split], values[:, split:])]
        squares = [np.cumsum((part**2).sum(axis=1)) for part in (values[:, :split], values[:, split:])]
        accused += any(
            (found := difference(
                Moments((look + 1) * split, float(sums[0][look]), float(squares[0][look])),
                Moments((look + 1) * (per_look - split), float(sums[1][look]), float(squares[1][look])),
                0.05,
            )) is not None and found.lower > 0
            for look in range(looks)
        )  # fmt: skip
    assert accused / runs <= 0.05


def test_a_slower_treatment_is_proven_slower() -> None:
    random = np.random.default_rng(12)
    slow, usual = moments(list(random.normal(0.5, 1, 2_000))), moments(list(random.normal(0, 1, 18_000)))

    found = difference(slow, usual, 0.05)

    assert found is not None
    assert found.lower > 0.3


def test_the_mismatch_evidence_is_a_martingale_under_the_promised_split() -> None:
    """Its expectation over every outcome of 30 units is exactly 1."""
    n, promised = 30, 0.2
    expectation = sum(
        math.comb(n, k) * promised**k * (1 - promised) ** (n - k) * mismatch_evidence(k, n - k, promised)
        for k in range(n + 1)
    )
    assert expectation == pytest.approx(1.0)


def test_a_sound_split_is_practically_never_held_while_a_broken_one_is_noticed() -> None:
    random = np.random.default_rng(13)
    sound = np.cumsum(random.random((1_000, 4_000)) < 0.1, axis=1)
    false_alarms = sum(
        any(mismatch_evidence(int(row[n - 1]), int(n - row[n - 1]), 0.1) >= THRESHOLD for n in range(100, 4_001, 100))
        for row in sound
    )

    assert false_alarms <= 3
    assert mismatch_evidence(400, 3_600, 0.1) < 1
    assert mismatch_evidence(520, 3_480, 0.1) >= THRESHOLD
    assert mismatch_evidence(290, 3_710, 0.1) >= THRESHOLD


@pytest.mark.parametrize(("treatment", "control", "promised"), [(0, 0, 0.1), (100, 0, 1.0), (0, 100, 0.0)])
def test_an_arm_that_is_meant_to_be_empty_is_no_mismatch(treatment: int, control: int, promised: float) -> None:
    assert mismatch_evidence(treatment, control, promised) == 1.0
