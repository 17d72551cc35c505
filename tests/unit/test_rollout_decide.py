"""What a rollout does next: every branch of the decision, and every move."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from brownout.model.parse import parse
from brownout.model.resources import Flag, Progress, Rollout
from brownout.wire.telemetry import ArmTotals
from controlplane.contract.rollout_rules import expected, owned, with_rules
from controlplane.errors import ConflictError
from controlplane.rollouts.decide import PATIENCE_S, Decision, elapsed_s, look
from controlplane.rollouts.evidence import Facts, Minute
from controlplane.rollouts.moves import ALLOWED, move
from controlplane.telemetry.readings import Witness

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ERROR = "error"


def rollout(*, state: str = "running", stage: int = 0, age_s: float = 1_000, **changed: Any) -> Rollout:
    spec = {
        "flag": "model", "control": "small", "treatment": "big",
        "stages": [
            {"weight_bp": 1_000, "cohort": "beta", "min_duration_s": 600, "min_units": 50},
            {"weight_bp": 2_500, "cohort": "beta"},
            {"weight_bp": 10_000},
        ],
        "guardrails": [{"measure": "error"}],
        **changed,
    }  # fmt: skip
    made = parse("rollout", "r", spec)
    assert isinstance(made, Rollout)
    progress = Progress(state, run=1, stage=stage, started_at=NOW - timedelta(seconds=age_s))  # type: ignore[arg-type]
    return msgspec.structs.replace(made, progress=progress)


def arm(at_risk: int, bad: int) -> ArmTotals:
    totals = ArmTotals(units=at_risk)
    totals.at_risk[ERROR], totals.bad[ERROR] = at_risk, bad
    return totals


def witness(treatment: ArmTotals, control: ArmTotals, *, key: str = "key", instance: str = "i-1") -> Witness:
    """Present since long before the stage, and still."""
    long_ago = NOW - timedelta(days=20)
    return Witness(key, instance, {"big": treatment, "small": control}, long_ago, NOW, long_ago, NOW)


def facts(treatment: tuple[int, int] = (100, 1), control: tuple[int, int] = (900, 9), *, sampled: int = 500) -> Facts:
    """From one instance, the only one that is live."""
    arms = (arm(*treatment), arm(*control))
    minute = Minute(NOW - timedelta(minutes=5), *arms, {"key": arms})
    share = treatment[0] / max(1, treatment[0] + control[0])
    in_treatment = round(sampled * share)
    return Facts((minute,), treatment[0], control[0], in_treatment, sampled - in_treatment, (witness(*arms),), 1)


def decided(subject: Rollout, seen: Facts | None = None, safe_mode: tuple[str, ...] = ()) -> Decision:
    return look(subject, facts() if seen is None else seen, safe_mode, NOW)[0]


def test_when_time_and_units_are_reached_it_advances() -> None:
    assert decided(rollout()).act == "advance"


def test_it_waits_for_its_time() -> None:
    decision = decided(rollout(age_s=60))

    assert (decision.act, decision.ready_at) == ("wait", NOW + timedelta(seconds=540))


def test_pauses_do_not_count_as_time() -> None:
    paused = move(rollout(age_s=900), "pause", "lunch", NOW - timedelta(seconds=800))
    resumed = move(paused, "resume", "back", NOW - timedelta(seconds=200))

    assert elapsed_s(resumed.progress, NOW) == 300
    assert decided(resumed).act == "wait"


@pytest.mark.parametrize(("choice", "act"), [("hold", "wait"), ("advance", "advance"), ("rollback", "roll_back")])
def test_without_enough_units_it_does_as_told_once_it_was_patient(choice: str, act: str) -> None:
    nobody = facts((20, 0), (180, 2), sampled=200)

    assert decided(rollout(on_no_data=choice, age_s=PATIENCE_S - 1), nobody).act == "wait"
    assert decided(rollout(on_no_data=choice, age_s=PATIENCE_S + 1), nobody).act == act


def test_with_no_traffic_nothing_advances_even_when_no_units_are_asked_for() -> None:
    assert decided(rollout(stage=1, age_s=1e6), Facts()).act == "wait"


@pytest.mark.parametrize(("choice", "act"), [("hold", "wait"), ("advance", "advance"), ("rollback", "roll_back")])
def test_a_gate_that_does_not_open_is_inconclusive(choice: str, act: str) -> None:
    gated = rollout(gates=[{"measure": "error"}], on_inconclusive=choice)

    assert decided(gated).act == act


def test_a_gate_opens_on_proof() -> None:
    gated = rollout(gates=[{"measure": "error", "no_worse_than": 2.0}])

    assert decided(gated, facts((1_000, 20), (9_000, 400))).act == "advance"


def test_a_bad_treatment_is_rolled_back_before_its_time() -> None:
    decision = decided(rollout(age_s=5), facts((100, 30), (900, 18)))

    assert decision.act == "roll_back"
    assert "30.00 % against 2.00 %" in decision.why


def test_a_guardrail_may_only_pause() -> None:
    decision = decided(rollout(guardrails=[{"measure": "error", "action": "pause"}]), facts((100, 30), (900, 18)))

    assert (decision.act, decision.paused_by) == ("pause", "guardrail")


def test_an_incident_in_both_arms_accuses_nobody() -> None:
    assert decided(rollout(), facts((100, 60), (900, 540))).act == "advance"


def test_a_broken_split_holds_it() -> None:
    decision = decided(rollout(), Facts((), 400, 600, 200, 300))

    assert decision.act == "wait"
    assert "cannot be trusted" in decision.why


def test_a_stage_that_a_person_decides_waits_for_one() -> None:
    stages = [{"weight_bp": 1_000, "approval": True}, {"weight_bp": 10_000}]

    assert "a person" in decided(rollout(stages=stages)).why


def test_the_last_stage_completes() -> None:
    assert decided(rollout(stage=2)).act == "complete"


def test_safe_mode_pauses_it_and_its_end_resumes_it() -> None:
    paused = decided(rollout(), safe_mode=("outage",))
    assert (paused.act, paused.paused_by) == ("pause", "safe_mode")
    assert paused.why == "paused: safe mode outage touches its requests, so its evidence would mislead"

    after = move(rollout(), "pause", paused.why, NOW, paused_by="safe_mode")
    assert decided(after, safe_mode=("outage",)).act == "wait"
    assert decided(after).act == "resume"


def test_a_person_s_pause_is_a_person_s_to_end() -> None:
    assert decided(move(rollout(), "pause", "looking", NOW)).act == "wait"


@pytest.mark.parametrize("state", ["draft", "completed", "rolled_back", "aborted"])
def test_a_rollout_that_does_not_run_does_nothing(state: str) -> None:
    assert decided(rollout(state=state), facts((100, 90), (900, 0))).act == "wait"


def test_moves_are_refused_where_they_make_no_sense() -> None:
    states = {"draft", "running", "paused", "completed", "rolled_back", "aborted"}
    for step, allowed in ALLOWED.items():
        for state in states - allowed:
            with pytest.raises(ConflictError):
                move(rollout(state=state), step, "why", NOW)


def test_starting_again_is_a_new_run_from_the_first_stage() -> None:
    again = move(rollout(state="rolled_back", stage=1), "start", "fixed", NOW)

    assert (again.progress.run, again.progress.stage, again.progress.state) == (2, 0, "running")


def test_advancing_the_last_stage_completes() -> None:
    assert move(rollout(stage=2), "advance", "good", NOW).progress.state == "completed"


FLAG = {
    "type": "string", "variants": {"small": "s", "big": "b"}, "off_variant": "small", "default": "small",
    "rules": [{"id": "vip", "if": [{"op": "exists", "attribute": "vip"}], "serve": "big"}],
}  # fmt: skip


def flag() -> Flag:
    made = parse("flag", "model", FLAG)
    assert isinstance(made, Flag)
    return made


def test_only_the_rollouts_own_rules_change() -> None:
    one = with_rules(flag(), "r", expected(rollout(), "r"))
    two = with_rules(one, "r", expected(rollout(stage=1), "r"))

    assert [rule.id for rule in one.rules] == ["vip", "rollout:r:1.0"]
    assert [rule.id for rule in two.rules] == ["vip", "rollout:r:1.1"]
    assert owned(two, "r") == expected(rollout(stage=1), "r")
    assert with_rules(two, "r", ()) == flag()


def test_the_treatment_is_listed_first_so_that_growing_moves_nobody_out() -> None:
    (rule,) = expected(rollout(), "r")

    assert not isinstance(rule.serve, str)
    assert [(share.variant, share.weight_bp) for share in rule.serve.split] == [("big", 1_000), ("small", 9_000)]
    assert rule.serve.seed == "rollout:r"


def test_a_cohort_keeps_what_an_earlier_stage_gave_it() -> None:
    stages = [
        {"weight_bp": 10_000, "cohort": "internal"}, {"weight_bp": 500, "cohort": "beta"}, {"weight_bp": 2_000},
    ]  # fmt: skip

    beta = expected(rollout(stages=stages, stage=1), "r")
    everyone = expected(rollout(stages=stages, stage=2), "r")

    assert [rule.id for rule in beta] == ["rollout:r:1.0", "rollout:r:1.1"]
    assert [rule.id for rule in everyone] == ["rollout:r:1.0", "rollout:r:1.2"]


@pytest.mark.parametrize("state", ["draft", "rolled_back", "aborted"])
def test_outside_of_a_run_it_has_no_rules(state: str) -> None:
    assert expected(rollout(state=state), "r") == ()
