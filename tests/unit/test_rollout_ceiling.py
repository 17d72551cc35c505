"""A ceiling: what a guardrail can ask where everyone gets the treatment."""

from fractions import Fraction
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.model.faults import InvalidResource
from brownout.model.parse import parse
from controlplane.evidence.ceilings import CeilingTest
from controlplane.evidence.shares import LIFTS
from controlplane.rollouts.evidence import Facts, Minute
from controlplane.rollouts.words import describe
from tests.unit.test_rollout_decide import NOW, arm, look, rollout, witness

CEILING = 0.05
GUARDRAILS = [{"measure": "error"}, {"measure": "error", "max_rate": CEILING}]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=6))
def test_it_equals_exact_likelihood_ratios(looks: list[tuple[int, int]]) -> None:
    test = CeilingTest(CEILING)
    found = [test.add(good + bad, bad) for good, bad in looks][-1]
    null = Fraction(str(CEILING))
    total = Fraction(0)
    for lift in map(Fraction, map(str, LIFTS)):
        worse = min(null * lift, 1 - (1 - null) / lift)
        total += prod((worse / null) ** bad * ((1 - worse) / (1 - null)) ** good for good, bad in looks)
    assert found == pytest.approx(float(total / len(LIFTS)), rel=1e-9)


@pytest.mark.parametrize(("rate", "most"), [(CEILING, 0.05), (CEILING / 2, 0.002)])
def test_false_alarms_stay_below_alpha_over_all_looks(rate: float, most: float) -> None:
    """2,000 rollouts of 10,000 requests, a look every 100."""
    chance = np.random.default_rng(3)
    bad = chance.binomial(100, rate, (2_000, 100))
    alarms = 0
    for run in bad:
        test = CeilingTest(CEILING)
        alarms += max(test.add(100, int(n)) for n in run) >= 20
    assert alarms / len(bad) <= most


def test_twice_the_ceiling_is_caught_within_some_hundred_requests() -> None:
    chance = np.random.default_rng(4)
    needed = []
    for _ in range(200):
        test, seen = CeilingTest(CEILING), 0
        while test.evidence < 20:
            test.add(50, int(chance.binomial(50, 2 * CEILING)))
            seen += 50
        needed.append(seen)
    assert np.median(needed) <= 500


def test_a_stage_for_everyone_is_rolled_back_by_its_ceiling() -> None:
    last = rollout(stage=1, guardrails=GUARDRAILS, stages=[{"weight_bp": 1_000}, {"weight_bp": 10_000}])
    arms = (arm(1_000, 120), arm(0, 0))
    facts = Facts((Minute(NOW, *arms, {"key": arms}),), 500, 0, 500, 0, (witness(*arms),), 1)
    decision, judged = look(last, facts, (), NOW)
    assert decision.act == "roll_back"
    assert decision.why.startswith("rolled back: error 12.00 %, at most 5 %, evidence ")
    assert [one.verdict for one in judged] == ["open", "breached"]
    assert describe(judged[0]) == "error 12.00 % against nothing, evidence 1 of 40"


def test_a_ceiling_is_for_rates_and_once_a_measure() -> None:
    spec = {
        "flag": "f", "control": "a", "treatment": "b", "stages": [{"weight_bp": 1_000}],
        "guardrails": [*GUARDRAILS, {"measure": "error", "max_rate": 0.1}, {"measure": "quality", "max_rate": 0.5}],
    }  # fmt: skip
    with pytest.raises(InvalidResource) as refused:
        parse("rollout", "r", spec)
    assert sorted(fault.pointer for fault in refused.value.faults) == [
        "/guardrails/1/measure", "/guardrails/2/measure", "/guardrails/3/max_rate",
    ]  # fmt: skip
