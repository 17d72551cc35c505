"""What an instance counts: exact totals, bounded memory, each unit once."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.telemetry.counters import MAX_EVALUATION_SERIES, MAX_REQUEST_SERIES, Exposure, Telemetry
from brownout.telemetry.requests import Report
from brownout.telemetry.sketch import ACCURACY, MAX_BUCKETS, bucket_of, quantile, value_of
from brownout.telemetry.units import MAX_RULES, MAX_TOLD, MAX_UNITS, TOLD
from brownout.wire.telemetry import (
    OTHER,
    ArmKey,
    ArmTotals,
    AttemptKey,
    AttemptTotals,
    CustomKey,
    EvaluationKey,
    RequestKey,
    RequestTotals,
    RolloutRule,
    RungTotals,
    TelemetryMessage,
    ceiling,
    decode,
    parse_rollout_rule,
    rollout_rule,
)

KEY = RequestKey("support-reply", "small", "haiku", "")
RULE = rollout_rule("new-model", 1, 2)
ERROR, REFUSAL = "error", "refusal"


def telemetry() -> Telemetry:
    return Telemetry("i-1", "support", now=lambda: 1_000.0)


def sent(subject: Telemetry) -> TelemetryMessage:
    data = subject.message(final=True)
    assert data is not None
    return decode(data)


@given(st.floats(0.002, 9e8))
def test_a_bucket_stands_for_its_values_within_the_accuracy(value: float) -> None:
    assert value_of(bucket_of(value)) == pytest.approx(value, rel=ACCURACY * 1.001)


@pytest.mark.parametrize("value", [0.0, -5.0, math.nan, math.inf, 1e300, 1e-300])
def test_odd_values_fall_into_the_outermost_buckets(value: float) -> None:
    assert bucket_of(0.0) <= bucket_of(value) < bucket_of(0.0) + MAX_BUCKETS


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_a_quantile_is_near_the_true_one(values: list[float], q: float) -> None:
    sketch: dict[int, int] = {}
    for value in values:
        sketch[bucket_of(value)] = sketch.get(bucket_of(value), 0) + 1
    true = sorted(values)[math.floor(q * (len(values) - 1))]

    assert quantile(sketch, q) == pytest.approx(true, rel=2.1 * ACCURACY)


def test_an_empty_sketch_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None


def test_evaluations_without_room_count_under_other() -> None:
    subject = telemetry()
    for i in range(MAX_EVALUATION_SERIES + 10):
        subject.count_evaluation(EvaluationKey(f"flag-{i}", "on", "STATIC"), 2)

    evaluations = sent(subject).evaluations
    assert sum(evaluations.values()) == 2 * (MAX_EVALUATION_SERIES + 10)
    assert evaluations[EvaluationKey(OTHER, "", "")] == 20


def test_a_message_tells_everything_counted_since_the_start() -> None:
    subject = telemetry()
    subject.count_evaluation(EvaluationKey("web-search", "on", "SPLIT"), 1)
    subject.count_policy(KEY, 1)
    subject.record(KEY, Report(input_tokens=100, output_tokens=20, duration_ms=800.0, quality=0.9, completed=True))
    subject.record(KEY, Report(error_class="timeout", rung="cache", format_ok=False, retrieval_hit=False))
    subject.record(KEY, Report(refused=True, escalated=True))
    subject.track("thumbs-up", attributes={"plan": "pro", "country": "de"})

    message = sent(subject)

    assert message.evaluations == {EvaluationKey("web-search", "on", "SPLIT"): 1}
    assert message.policies == {KEY: 1}
    assert message.requests == {
        KEY: RequestTotals(
            requests=3, errors={"timeout": 1}, fallbacks={"cache": 1}, refusals=1, format_checked=1, format_errors=1,
            escalations=1, completion_known=1, completions=1, retrievals=1, retrieval_misses=1, input_tokens=100,
            output_tokens=20, duration={bucket_of(800.0): 1}, quality_n=1, quality_total=0.9,
            rungs={"primary": RungTotals(served=2, known=1, completed=1, escalated=1), "cache": RungTotals(served=1)},
        )
    }  # fmt: skip
    assert list(message.custom) == [CustomKey("thumbs-up", "country=de,plan=pro")]
    assert (message.instance, message.service, message.start, message.sequence) == ("i-1", "support", 1_000_000, 1)


def test_nothing_is_sent_when_nothing_changed() -> None:
    subject = telemetry()
    subject.record(KEY, Report())

    assert subject.message() is not None
    assert subject.message() is None
    subject.record(KEY, Report())
    assert subject.message() is not None


def test_a_unit_is_bad_once_and_at_risk_only_before() -> None:
    subject = telemetry()
    for error in (None, "timeout", "timeout", None):
        subject.record(KEY, Report(error_class=error), [Exposure(RULE, "treatment", "u-1")])
    subject.record(KEY, Report(), [Exposure(RULE, "treatment", "u-2")])

    arm = sent(subject).arms[ArmKey(RULE, "treatment")]

    assert arm.totals.units == 2
    assert (arm.totals.at_risk[ERROR], arm.totals.bad[ERROR]) == (3, 1)
    assert (arm.totals.at_risk[REFUSAL], arm.totals.bad.get(REFUSAL)) == (5, None)
    error, refusal = arm.measures.index(ERROR), arm.measures.index(REFUSAL)
    assert [(one.at_risk[error], one.at_risk[refusal], one.bad) for one in arm.units] == [(2, 4, [error]), (1, 1, [])]


def test_means_take_each_units_first_observation() -> None:
    subject = telemetry()
    for quality in (0.5, 0.9):
        subject.record(KEY, Report(quality=quality), [Exposure(RULE, "control", "u-1")])

    totals = sent(subject).arms[ArmKey(RULE, "control")].totals

    assert (totals.mean_n, totals.mean_total, totals.mean_squares) == (
        {"quality": 1},
        {"quality": 0.5},
        {"quality": 0.25},
    )


def told(subject: Telemetry, variant: str = "treatment") -> set[int]:
    return {one.unit for one in sent(subject).arms[ArmKey(RULE, variant)].units}


def test_two_instances_follow_the_same_units_at_the_same_level() -> None:
    """So what they report of a unit merges, whichever of them saw more units."""
    many, few = telemetry(), telemetry()
    for i in range(2 * MAX_UNITS):
        many.record(KEY, Report(), [Exposure(RULE, "treatment", f"u-{i}")])
        if i % MAX_TOLD == 0:
            sent(many)
    for i in range(1_000):
        few.record(KEY, Report(), [Exposure(RULE, "treatment", f"u-{i}")])
        many.record(KEY, Report(), [Exposure(RULE, "treatment", f"u-{i}")])

    arm = sent(many).arms[ArmKey(RULE, "treatment")]
    followed = {one.unit for one in arm.units}
    assert arm.level > 0
    assert {unit for unit in told(few) if unit <= ceiling(arm.level)} <= followed
    assert arm.totals.units == pytest.approx(2 * MAX_UNITS, rel=0.05)


def test_a_unit_is_told_for_as_long_as_messages_may_be_lost_and_then_counts_anew() -> None:
    subject = telemetry()
    subject.record(KEY, Report(error_class="timeout"), [Exposure(RULE, "treatment", "u-1")])
    (first,) = sent(subject).arms[ArmKey(RULE, "treatment")].units
    for _ in range(TOLD - 1):
        assert told(subject)
    assert not told(subject)

    subject.record(KEY, Report(error_class="timeout", refused=True), [Exposure(RULE, "treatment", "u-1")])
    arm = sent(subject).arms[ArmKey(RULE, "treatment")]
    (again,) = arm.units
    assert again.born > first.born
    assert [arm.measures[place] for place in again.bad] == [REFUSAL]
    assert arm.totals.bad == {ERROR: 1, REFUSAL: 1}


def test_memory_is_bounded_and_what_found_no_room_is_counted() -> None:
    subject = telemetry()
    for i in range(MAX_REQUEST_SERIES + 50):
        subject.record(RequestKey(f"class-{i}", "m", "v", ""), Report())
        subject.track(f"metric-{i}")
    for i in range(MAX_RULES + 5):
        subject.record(KEY, Report(), [Exposure(rollout_rule("r", 1, i), "treatment", "u")])
    for i in range(MAX_TOLD + 10):
        subject.record(KEY, Report(error_class="timeout"), [Exposure(RULE, "treatment", f"u-{i}")])

    message = sent(subject)

    assert len(message.requests) == MAX_REQUEST_SERIES + 1
    assert sum(totals.requests for totals in message.requests.values()) == MAX_REQUEST_SERIES + 50 + 5 + MAX_TOLD + 26
    assert len(message.custom) <= MAX_REQUEST_SERIES + 1
    assert len({key.rule for key in message.arms}) == MAX_RULES
    assert len(message.arms[ArmKey(RULE, "treatment")].units) <= MAX_TOLD
    assert message.dropped > 100


@pytest.mark.parametrize("value", [math.nan, math.inf, "many"])
def test_a_senseless_value_is_dropped_and_never_raises(value: float) -> None:
    subject = telemetry()
    subject.track("odd", value)
    subject.record(KEY, Report(quality=value, error_class="unheard-of", rung="prayer"))

    message = sent(subject)

    assert message.custom == {}
    assert message.dropped >= 1
    assert all(totals.quality_n == 0 for totals in message.requests.values())


class Hostile:
    """Raises where it is asked for a number or a text."""

    def __float__(self) -> float:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("name", "value", "attributes"),
    [
        (b"bytes", 1.0, {}),
        ("half a pair \ud800", 1.0, {}),
        ("n", 1.0, {"path": "\udc80"}),
        ("n", 1.0, {"who": Hostile()}),
        ("n", Hostile(), {}),
        ("n", 1.7e308, {}),
    ],
)
def test_a_metric_that_no_message_can_carry_is_dropped_and_spoils_none(name: Any, value: Any, attributes: Any) -> None:
    subject = telemetry()
    subject.track("sound")
    for _ in range(3):
        subject.track(name, value, attributes)

    message = sent(subject)

    assert set(message.custom) == {CustomKey("sound", "")}
    assert message.dropped == 3


@pytest.mark.parametrize(
    "report",
    [
        Report(input_tokens=10**30, output_tokens=10**30),
        Report(quality=1.7e308, duration_ms=1.7e308),
        Report(refused=0.5, escalated=0.5, completed=2),  # type: ignore[arg-type]
    ],
)
def test_an_outlandish_report_leaves_totals_that_a_message_can_carry(report: Report) -> None:
    subject = telemetry()
    for _ in range(3):
        subject.record(KEY, report, [Exposure(RULE, "treatment", "u-1")])

    message = sent(subject)

    assert message.requests[KEY].requests == 3
    assert math.isfinite(message.requests[KEY].quality_total)
    assert all(map(math.isfinite, message.arms[ArmKey(RULE, "treatment")].totals.mean_squares.values()))


def test_a_unit_that_is_no_text_ends_no_process() -> None:
    subject = telemetry()
    subject.record(KEY, Report(), [Exposure(RULE, "treatment", "\ud800")])
    assert sent(subject).dropped == 1


totals = st.builds(
    RequestTotals,
    requests=st.integers(0, 100),
    errors=st.dictionaries(st.sampled_from(["timeout", "auth"]), st.integers(1, 9)),
    duration=st.dictionaries(st.integers(0, 5), st.integers(1, 9)),
    rungs=st.dictionaries(
        st.sampled_from(["primary:big", "cache"]),
        st.builds(RungTotals, served=st.integers(1, 9), known=st.integers(0, 9)),
    ),
    attempts=st.dictionaries(
        st.builds(AttemptKey, st.sampled_from(["a", "b"]), st.just("m")),
        st.builds(
            AttemptTotals, outcomes=st.dictionaries(st.sampled_from(["ok", "timeout"]), st.integers(1, 9), min_size=1)
        ),
    ),
)


@given(totals, totals, totals)
def test_totals_add_in_any_order_and_subtract_back(a: RequestTotals, b: RequestTotals, c: RequestTotals) -> None:
    assert a.plus(b) == b.plus(a)
    assert a.plus(b).plus(c) == a.plus(b.plus(c))
    assert a.plus(b).minus(b) == a


def test_arms_add_measure_by_measure() -> None:
    a, b = ArmTotals(units=1, at_risk={ERROR: 1, REFUSAL: 2}), ArmTotals(at_risk={ERROR: 3})

    assert a.plus(b) == ArmTotals(units=1, at_risk={ERROR: 4, REFUSAL: 2})


@pytest.mark.parametrize("rule", ["", "beta", "rollout:", "rollout:x", "rollout:x:1", "rollout:x:1.b", "rollout::1.2"])
def test_other_rules_are_no_rollouts(rule: str) -> None:
    assert parse_rollout_rule(rule) is None


def test_a_rollouts_rule_says_which_stage_it_is() -> None:
    assert parse_rollout_rule(RULE) == RolloutRule("new-model", 1, 2)
