"""The share test by simulation: thousands of seeded rollouts, a look every 100 requests, a 10 % canary.

Run `python -m tests.unit.test_share_simulation` to see the figures of docs/rollouts.md. The oracle is exact arithmetic
(test_rollout_statistics.py): the package `ville` 0.1.0, its only release, tests means and rates against constants, and no
ratio of two rates.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from controlplane.evidence.shares import LIFTS, ShareTest, Window, treatment_share, units_needed

ALPHA = 0.05
RUNS = 4_000
LOOKS = 400
PER_LOOK = 100
ALLOWED = 1.25

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


class Simulated(NamedTuple):
    """Shapes (RUNS, LOOKS): the counts of `Window`, per look."""

    treatment: Counts
    control: Counts
    treatment_bad: Counts
    control_bad: Counts

    def evidence(self, ratio: float = ALLOWED, *, exposed: float | None = None) -> Floats:
        """The test of shares.py, over all runs at once; `exposed` uses a configured share instead of the observed."""
        share = self.treatment / (self.treatment + self.control) if exposed is None else np.full_like(
            self.treatment, exposed, dtype=float
        )  # fmt: skip
        null = treatment_share(share, ratio)
        likelihoods = []
        for lift in LIFTS:
            other = treatment_share(share, ratio * lift)
            step = self.treatment_bad * np.log(other / null) + self.control_bad * np.log((1 - other) / (1 - null))
            likelihoods.append(np.exp(np.minimum(np.cumsum(step, axis=1), 690)))
        return np.mean(likelihoods, axis=0)

    def naive(self) -> Floats:
        """The one-sided two-proportion z statistic that dashboards show, at every look."""
        treatment, control = np.cumsum(self.treatment, axis=1), np.cumsum(self.control, axis=1)
        bad, control_bad = np.cumsum(self.treatment_bad, axis=1), np.cumsum(self.control_bad, axis=1)
        pooled = (bad + control_bad) / (treatment + control)
        error = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / treatment + 1 / control))
        return (bad / treatment - control_bad / control) / error


def simulate(
    seed: int,
    *,
    rate: float | Callable[[int], float] = 0.02,
    times: float = 1.0,
    weight: Callable[[int], float] = lambda _look: 0.1,
    runs: int = RUNS,
    looks: int = LOOKS,
    per_look: int = PER_LOOK,
) -> Simulated:
    """`weight` is the share of requests that truly reach the treatment at a look, `times` how much worse it is."""
    random = np.random.default_rng(seed)
    rates = np.array([rate(look) if callable(rate) else rate for look in range(looks)])
    weights = np.array([weight(look) for look in range(looks)])
    treatment = random.binomial(per_look, np.broadcast_to(weights, (runs, looks))).clip(1, per_look - 1)
    control = per_look - treatment
    return Simulated(
        treatment,
        control,
        random.binomial(treatment, np.minimum(1.0, rates * times)),
        random.binomial(control, rates),
    )


def crossed(values: Floats, threshold: float) -> float:
    return float((values.max(axis=1) >= threshold).mean())


def median_treatment_units(simulated: Simulated) -> float:
    """Treatment units used when the evidence first reaches 1/ALPHA; infinite for runs that never do."""
    hit = simulated.evidence() >= 1 / ALPHA
    units = np.cumsum(simulated.treatment, axis=1)
    first = units[np.arange(len(units)), hit.argmax(axis=1)]
    return float(np.median(np.where(hit.any(axis=1), first, np.inf)))


def incident(look: int) -> float:
    """Both arms fail together for a while: the provider is down."""
    return 0.6 if 100 <= look < 130 else 0.02


def drifting(look: int) -> float:
    """The weight is configured as 10 %, but the share of requests wanders between 4 % and 25 %."""
    return 0.145 + 0.105 * float(np.sin(look / 40))


NULLS = {
    "quiet": {},
    "incident in both arms": {"rate": incident},
    "drifting weight": {"weight": drifting},
    "incident while the weight drifts": {"rate": incident, "weight": drifting},
}


@pytest.mark.parametrize("name", NULLS)
def test_false_alarms_stay_below_alpha_at_the_edge_of_what_is_allowed(name: str) -> None:
    simulated = simulate(1, times=ALLOWED, **NULLS[name])

    assert crossed(simulated.evidence(), 1 / ALPHA) <= ALPHA


@pytest.mark.parametrize("name", NULLS)
def test_an_equal_treatment_is_hardly_ever_accused_while_the_naive_test_often_is(name: str) -> None:
    simulated = simulate(2, **NULLS[name])

    assert crossed(simulated.evidence(), 1 / ALPHA) <= 0.01
    assert crossed(simulated.evidence(ratio=1.0), 1 / ALPHA) <= ALPHA
    assert crossed(simulated.naive(), 1.645) > 4 * ALPHA


def test_the_configured_weight_instead_of_the_observed_share_would_raise_false_alarms() -> None:
    simulated = simulate(3, weight=drifting)

    assert crossed(simulated.evidence(ratio=1.0, exposed=0.1), 1 / ALPHA) > 0.5


@pytest.mark.parametrize(("times", "within"), [(10.0, 60), (3.0, 500), (2.0, 1_800)])
def test_a_bad_treatment_is_caught_within_the_promised_units_at_the_median(times: float, within: int) -> None:
    simulated = simulate(4, times=times, looks=800, runs=2_000)

    assert median_treatment_units(simulated) <= within


@pytest.mark.parametrize("times", [10.0, 3.0, 2.0])
def test_the_preview_agrees_with_the_simulation(times: float) -> None:
    promised = units_needed(0.02, 0.1, allowed=ALLOWED, actual=times, threshold=1 / ALPHA)
    measured = median_treatment_units(simulate(5, times=times, looks=1_200, runs=1_000))

    assert promised is not None
    assert 0.6 * measured <= promised <= 1.6 * measured


@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_the_gate_rarely_promotes_a_treatment_that_is_too_bad_and_promotes_an_equal_one(rate: float) -> None:
    limit = 1.5
    too_bad, equal = simulate(6, rate=rate, times=limit, runs=1_000), simulate(7, rate=rate, runs=1_000, looks=2_000)

    assert crossed(_gate(too_bad, limit), 1 / ALPHA) <= ALPHA
    assert crossed(_gate(equal, limit), 1 / ALPHA) >= 0.95


def _gate(simulated: Simulated, limit: float) -> Floats:
    share = simulated.treatment / (simulated.treatment + simulated.control)
    null = treatment_share(share, limit)
    likelihoods = []
    for lift in LIFTS:
        other = treatment_share(share, limit / lift)
        step = simulated.treatment_bad * np.log(other / null) + simulated.control_bad * np.log((1 - other) / (1 - null))
        likelihoods.append(np.exp(np.minimum(np.cumsum(step, axis=1), 690)))
    return np.mean(likelihoods, axis=0)


@pytest.mark.parametrize(("good", "within"), [(0, 60), (1_000, 250), (3_000, 450)])
def test_a_good_record_delays_but_does_not_hide_a_treatment_that_turns_bad(good: int, within: int) -> None:
    """2 % → 20 % after `good` units of a stage; docs/rollouts.md says what it takes."""
    chance = np.random.default_rng(9)
    needed = []
    for _ in range(40):
        test, seen, late = ShareTest(ALLOWED), 0, 0
        while test.evidence < 2 / ALPHA:
            units = int(chance.binomial(PER_LOOK, 0.1))
            bad = int(chance.binomial(units, 0.2 if seen >= good else 0.02))
            late += units if seen >= good else 0
            seen += units
            test.add(Window(units, PER_LOOK - units, bad, int(chance.binomial(PER_LOOK - units, 0.02))))
        needed.append(late)
    assert np.median(needed) <= within


@pytest.mark.parametrize("against", ["no_worse", "worse"])
def test_the_simulation_runs_the_very_test_that_the_engine_runs(against: str) -> None:
    simulated = simulate(8, times=2.0, runs=5, looks=50)
    expected = simulated.evidence() if against == "no_worse" else _gate(simulated, ALLOWED)

    for run in range(5):
        test = ShareTest(ALLOWED, against=against)
        for look in range(50):
            evidence = test.add(Window(*(int(counts[run, look]) for counts in simulated)))
            assert evidence == pytest.approx(expected[run, look])


def _print_figures() -> None:
    print(f"{RUNS} rollouts, a look every {PER_LOOK} requests, {LOOKS} looks, canary 10 %, alpha {ALPHA}")
    print(f"{'nobody is worse':<36}{'share test':>12}{'naive z':>10}")
    for name, case in NULLS.items():
        simulated = simulate(2, **case)
        print(
            f"{name:<36}{crossed(simulated.evidence(ratio=1.0), 20):>12.1%}{crossed(simulated.naive(), 1.645):>10.1%}"
        )
    for times in (10.0, 3.0, 2.0):
        median = median_treatment_units(simulate(4, times=times, looks=800, runs=2_000))
        print(f"2 % → {2 * times:.0f} % bad: caught after {median:.0f} treatment units at the median")


if __name__ == "__main__":
    _print_figures()
