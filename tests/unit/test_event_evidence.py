"""What services track, as guardrails and gates: a share of units, whenever the event comes after the exposure."""

from datetime import UTC, datetime, timedelta

import numpy as np

from brownout.model.resources import Guardrail
from brownout.wire.telemetry import ArmTotals
from controlplane.rollouts.evidence import Facts, Minute, judge_one

ALPHA = 0.05
BEGUN = datetime(2026, 11, 22, 12, tzinfo=UTC)
EVENT = "event:thumbs-down"


def stage(seed: int, *, worse: float = 1.0, minutes: int = 40, weight: float = 0.1) -> Facts:
    """People arrive all the time; each takes offence at a pace of their own, and some are very easily offended."""
    chance = np.random.default_rng(seed)
    found = []
    waiting = {True: np.empty(0), False: np.empty(0)}
    for at in range(minutes):
        arms = {}
        for treated in (True, False):
            arrived = int(chance.poisson(100 * (weight if treated else 1 - weight)))
            paces = chance.beta(0.2, 100.0, arrived) * (worse if treated else 1.0)
            waiting[treated] = np.concatenate((waiting[treated], paces))
            offended = chance.random(len(waiting[treated])) < waiting[treated]
            waiting[treated] = waiting[treated][~offended]
            bad = {EVENT: int(offended.sum())} if offended.any() else {}
            arms[treated] = ArmTotals(units=arrived, bad=bad)
        found.append(Minute(BEGUN + timedelta(minutes=at), arms[True], arms[False]))
    return Facts(minutes=tuple(found))


def test_alike_arms_are_accused_no_more_often_than_promised_over_all_looks() -> None:
    runs = [judge_one(Guardrail(EVENT, no_worse_than=1.0), stage(seed), ALPHA).verdict for seed in range(100)]
    assert runs.count("breached") <= ALPHA * len(runs)


def test_a_treatment_that_offends_four_times_as_many_is_caught() -> None:
    runs = [judge_one(Guardrail(EVENT), stage(seed, worse=4.0), ALPHA).verdict for seed in range(20)]
    assert runs.count("breached") == 20


def test_a_ceiling_counts_units_too() -> None:
    rule = Guardrail(EVENT, max_rate=0.2)
    assert [judge_one(rule, stage(seed, worse=0.0), ALPHA).verdict for seed in range(20)] == ["open"] * 20
    assert judge_one(rule, stage(1, worse=200.0), ALPHA).verdict == "breached"


def test_rates_are_of_units() -> None:
    minutes = [
        Minute(BEGUN, ArmTotals(units=10), ArmTotals(units=90)),
        Minute(BEGUN + timedelta(minutes=1), ArmTotals(bad={EVENT: 2}), ArmTotals(bad={EVENT: 9})),
    ]
    judged = judge_one(Guardrail(EVENT), Facts(minutes=tuple(minutes)), ALPHA)
    assert (judged.treatment, judged.treatment_n, judged.control, judged.control_n) == (0.2, 10, 0.1, 90)
