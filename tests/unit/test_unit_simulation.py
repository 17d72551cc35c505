"""A/A rollouts by simulation: the arms are alike, so a guardrail that fires is wrong. Users wander between instances.

The counters are the SDK's and the merge is the control plane's; only the network is left out. `added_up` is how it was
done before units were merged: what each instance saw of a user was taken for another user's.

Run `python -m tests.unit.test_unit_simulation` to see the figures of docs/rollouts.md.
"""

from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from brownout.evaluation.bucketing import bucket
from brownout.telemetry import units
from brownout.telemetry.units import Outcome, StageUnits
from brownout.wire.telemetry import Arm, ArmKey, ArmTotals
from controlplane.evidence.means import Moments, difference
from controlplane.evidence.shares import ShareTest, Window
from controlplane.telemetry.units import Known, merge, news

ALPHA = 0.05
ARMS = ("treatment", "control")
INSTANCES = (1, 10, 40, 200)
RUNS, LONG = 20, 400
USERS, LOOKS, PER_LOOK = 300, 20, 150


class Breached(NamedTuple):
    """Whether a guardrail fired at any look."""

    quality: bool
    refusal: bool
    added_up: bool
    """Quality, had each instance's users been others."""
    miscounted: int
    """Units beyond the users who came."""


class Fleet:
    """Instances of an SDK, and what the control plane makes of their messages."""

    def __init__(self, size: int) -> None:
        self.instances = [StageUnits() for _ in range(size)]
        self._told: list[dict[ArmKey, Arm]] = [{} for _ in range(size)]
        self._known: dict[str, dict[int, Known]] = {arm: {} for arm in ARMS}
        self.sequence = 0

    def tell(self) -> dict[str, ArmTotals]:
        """Every instance sends a message; returns what they add."""
        self.sequence += 1
        added = {arm: ArmTotals() for arm in ARMS}
        for index, instance in enumerate(self.instances):
            arms = instance.arms("rule", self.sequence)
            for key, arm in arms.items():
                found = news(arm, self._told[index].get(key))
                totals, after = merge(found, self._known[key.variant])
                self._known[key.variant] |= after
                added[key.variant] = added[key.variant].plus(totals)
            self._told[index] = {key: _sent(arm) for key, arm in arms.items()}
        return added

    def added_up(self) -> list[Moments]:
        totals = {arm: ArmTotals() for arm in ARMS}
        for told in self._told:
            for key, arm in told.items():
                totals[key.variant] = totals[key.variant].plus(arm.totals)
        return [_moments(totals[arm]) for arm in ARMS]


def _sent(arm: Arm) -> Arm:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(arm), type=Arm)


def _moments(arm: ArmTotals) -> Moments:
    n, total, squares = arm.mean_n, arm.mean_total, arm.mean_squares
    return Moments(n.get("quality", 0), total.get("quality", 0.0), squares.get("quality", 0.0))


def _plus(moments: list[Moments], added: dict[str, ArmTotals]) -> list[Moments]:
    return [
        Moments(before.n + new.n, before.total + new.total, before.squares + new.squares)
        for before, new in zip(moments, (_moments(added[arm]) for arm in ARMS), strict=True)
    ]


def _worse(treatment: Moments, control: Moments) -> bool:
    """Whether quality is surely lower, by however little: the edge of what a guardrail may allow."""
    found = difference(treatment, control, ALPHA)
    return found is not None and found.upper < 0


def rollout(seed: int, instances: int, *, requests: int = PER_LOOK, looks: int = LOOKS) -> Breached:
    """One A/A rollout: some users are hard to please and some are refused again and again, in both arms alike."""
    chance = np.random.default_rng(seed)
    fleet = Fleet(instances)
    pleased, refused = chance.normal(0.8, 0.2, USERS), chance.beta(0.1, 2.0, USERS)
    arms = [ARMS[bucket(f"run-{seed}", f"u-{user}") >= 5_000] for user in range(USERS)]
    moments, test = [Moments(), Moments()], ShareTest(1.0)
    quality = refusal = added_up = False
    counted, came = 0, set[int]()
    for _ in range(looks):
        for user, where in zip(
            chance.integers(USERS, size=requests), chance.integers(instances, size=requests), strict=True
        ):
            came.add(int(user))
            outcome = Outcome(
                {"refusal": bool(chance.random() < refused[user])},
                {"quality": float(pleased[user] + chance.normal(0, 0.05))},
            )
            fleet.instances[where].observe(arms[user], f"u-{user}", outcome, fleet.sequence)
        added = fleet.tell()
        counted += sum(arm.units for arm in added.values())
        moments = _plus(moments, added)
        counts = [
            [added[arm].at_risk.get("refusal", 0) for arm in ARMS],
            [added[arm].bad.get("refusal", 0) for arm in ARMS],
        ]
        refusal |= test.add(Window(*counts[0], *counts[1])) >= 1 / ALPHA
        quality |= _worse(*moments)
        added_up |= _worse(*fleet.added_up())
    return Breached(quality, refusal, added_up, counted - len(came))


@pytest.mark.chaos
@pytest.mark.parametrize("instances", INSTANCES)
def test_users_who_wander_between_instances_accuse_no_equal_treatment(
    instances: int, request: pytest.FixtureRequest
) -> None:
    """Over all looks, at the very edge of what a guardrail may allow. Added up, as before, 40 instances accuse a fifth of
    the innocent treatments: that each user counts once makes the difference."""
    runs = [rollout(seed, instances) for seed in range(LONG if request.config.getoption("--chaos") == "long" else RUNS)]

    assert sum(run.quality for run in runs) <= ALPHA * len(runs)
    assert sum(run.refusal for run in runs) <= ALPHA * len(runs)
    assert {run.miscounted for run in runs} == {0}
    if instances >= 40:
        assert sum(run.added_up for run in runs) > 3 * ALPHA * len(runs)


def test_what_hits_both_arms_while_fewer_units_are_followed_accuses_no_treatment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both arms are thinned alike, so neither holds more of the bad hours than the other. A 10 % canary, new users all the
    time, quality that falls for all of them."""
    monkeypatch.setattr(units, "MAX_UNITS", 400)
    breached = 0
    for seed in range(RUNS):
        chance = np.random.default_rng(seed)
        fleet, moments = Fleet(4), [Moments(), Moments()]
        found = False
        for look in range(LOOKS):
            for user in range(look * 200, look * 200 + 200):
                arm = ARMS[bucket(f"run-{seed}", f"u-{user}") >= 1_000]
                value = float(chance.normal(0.9 - 0.02 * look, 0.1))
                fleet.instances[user % 4].observe(arm, f"u-{user}", Outcome({}, {"quality": value}), fleet.sequence)
            moments = _plus(moments, fleet.tell())
            found |= _worse(*moments)
        breached += found
        assert all(instance.level > 0 for instance in fleet.instances)
    assert breached <= ALPHA * RUNS


def _print_figures(runs: int) -> None:
    print(f"{runs} A/A rollouts, {USERS} users, {LOOKS} looks, alpha {ALPHA}: false alarms over all looks")
    print(f"{'instances':<12}{'quality':>10}{'refusal':>10}{'added up':>10}")
    for instances in INSTANCES:
        found = [rollout(seed, instances) for seed in range(runs)]
        shares = [sum(getattr(run, name) for run in found) / runs for name in ("quality", "refusal", "added_up")]
        print(f"{instances:<12}" + "".join(f"{share:>10.1%}" for share in shares))


if __name__ == "__main__":
    _print_figures(LONG)
