"""Operations and attempts are counted apart, and each model's tokens are its own."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.model.values import ErrorClass
from brownout.telemetry.attempted import Attempted
from brownout.telemetry.counters import Exposure, Telemetry
from brownout.telemetry.requests import COARSE, MAX_ATTEMPTS, MAX_MODELS, MAX_RUNGS, Report
from brownout.telemetry.sketch import FIRST, LAST, bucket_of, value_of
from brownout.wire.telemetry import (
    OTHER,
    ArmKey,
    AttemptKey,
    AttemptTotals,
    RequestKey,
    RequestTotals,
    RungTotals,
    TelemetryMessage,
    decode,
    rollout_rule,
)

KEY = RequestKey("support-reply", "big-1", "big", "")
RULE = rollout_rule("new-model", 1, 0)
BIG, SMALL = AttemptKey("acme", "big-1"), AttemptKey("other", "small-1")


def big(error: ErrorClass | None = None, **more: Any) -> Attempted:
    return Attempted("big", "acme", "big-1", error=error, duration_ms=90.0, **more)


def small(error: ErrorClass | None = None, **more: Any) -> Attempted:
    return Attempted("small", "other", "small-1", error=error, duration_ms=20.0, **more)


def coarse(value: float) -> int:
    return bucket_of(value) // COARSE * COARSE + COARSE // 2


def sent(subject: Telemetry) -> TelemetryMessage:
    data = subject.message(final=True)
    assert data is not None
    return decode(data)


def counted(*reports: Report) -> RequestTotals:
    subject = Telemetry("i-1", "support")
    for report in reports:
        subject.record(KEY, report)
    return sent(subject).requests[KEY]


def test_a_fallbacks_tokens_are_its_own() -> None:
    totals = counted(
        Report(
            "overloaded", 110, 25, rung="model", answered_by="small", completed=True, assigned="big",
            attempts=(big("overloaded", usage=(10, 0)), big("timeout", purpose="retry"), small(usage=(100, 25))),
        ),
        Report(answered_by="big", assigned="big", attempts=(big(usage=(7, 3)),)),
    )  # fmt: skip

    assert totals.attempts == {
        BIG: AttemptTotals({"overloaded": 1, "timeout": 1, "ok": 1}, 1, 17, 3, {coarse(90.0): 3}),
        SMALL: AttemptTotals({"ok": 1}, 0, 100, 25, {coarse(20.0): 1}),
    }
    assert (totals.requests, totals.input_tokens, totals.output_tokens) == (2, 117, 28)
    assert totals.rungs == {"model:small": RungTotals(1, 1, 1), "primary:big": RungTotals(1)}
    assert (totals.errors, totals.fallbacks, totals.unanswered) == ({"overloaded": 1}, {"model": 1}, 0)


def test_each_way_to_end_is_counted() -> None:
    totals = counted(
        Report(rung="cache", provisional=True, cache_age_s=90.0, prompt_tokens=400),
        Report(rung="human_review", queued=True, escalated=True, completed=False),
        Report(shed=True),
        Report(stopped=True),
        Report(error_class="timeout"),
        Report(abandoned=True),
        Report(answered_by="big", abandoned=True),
    )

    assert totals.rungs == {
        "cache": RungTotals(1), "human_review": RungTotals(1, 1, 0, 1), "primary:big": RungTotals(1, abandoned=1),
    }  # fmt: skip
    assert (totals.provisional, totals.queued, totals.shed, totals.stopped) == (1, 1, 1, 1)
    assert (totals.unanswered, totals.abandoned, totals.requests) == (1, 2, 7)
    assert (totals.cache_age, totals.prompt) == ({coarse(90.0): 1}, {coarse(400.0): 1})


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-9, 1e99])
def test_odd_values_stay_in_buckets_that_a_receiver_takes(value: float) -> None:
    totals = counted(Report(cache_age_s=value, attempts=(small(),)))
    assert all(FIRST <= bucket <= LAST for bucket in totals.cache_age)


@given(st.floats(0.01, 1e8))
def test_a_coarse_bucket_stands_for_its_values_within_seven_per_cent(value: float) -> None:
    assert value_of(coarse(value)) == pytest.approx(value, rel=0.07)


def test_labels_without_room_count_under_other() -> None:
    totals = counted(
        *(Report(rung="model", answered_by=f"t-{n}", attempts=(Attempted("t", "p", f"m-{n}"),)) for n in range(40))
    )

    assert (len(totals.rungs), len(totals.attempts)) == (MAX_RUNGS + 1, MAX_MODELS + 1)
    assert totals.rungs[OTHER].served == 40 - MAX_RUNGS
    assert totals.attempts[AttemptKey(OTHER, "")].attempts == 40 - MAX_MODELS


def test_a_request_counts_so_many_attempts_at_most() -> None:
    assert counted(Report(attempts=(small(),) * 1_000)).attempts[SMALL].attempts == MAX_ATTEMPTS


@pytest.mark.parametrize("attempts", [(None,), ("big",), (small(usage=(1,)),), 5])
def test_senseless_attempts_are_dropped_whole(attempts: Any) -> None:
    subject = Telemetry("i-1", "support")
    subject.record(KEY, Report(attempts=attempts))

    assert (sent(subject).requests, subject.dropped) == ({}, 1)


@pytest.mark.parametrize(
    ("report", "bad"),
    [
        (Report(answered_by="big", attempts=(big("timeout"), big(purpose="retry"))), {"error"}),
        (Report(rung="model", answered_by="small", attempts=(big("refusal"), small())), {"refusal", "fallback"}),
        (Report(rung="model", answered_by="small", format_ok=True, attempts=(big("format_error"), small())),
         {"format_error", "fallback"}),
        (Report("overloaded", rung="cache", attempts=()), {"error", "fallback"}),
        (Report(rung="model", answered_by="small", attempts=(big(), small("timeout"))), {"fallback"}),
    ],
)  # fmt: skip
def test_a_good_fallback_does_not_hide_a_bad_model_from_its_rollout(report: Report, bad: set[str]) -> None:
    subject = Telemetry("i-1", "support")
    subject.record(KEY, report._replace(assigned="big"), [Exposure(RULE, "treatment", "u-1")])

    assert set(sent(subject).arms[ArmKey(RULE, "treatment")].totals.bad) == bad


def test_half_of_the_last_calls_gone_wrong_is_worth_a_message_at_once() -> None:
    subject = Telemetry("i-1", "support")
    for _ in range(9):
        subject.record(KEY, Report(attempts=(big("timeout"), small())))
    subject.record(KEY._replace(drill="spring"), Report(attempts=(big("timeout"),)))
    assert not subject.alarming
    subject.record(KEY, Report("timeout"))
    assert subject.alarming

    for _ in range(11):
        subject.record(KEY, Report(attempts=(big(),)))
    assert not subject.alarming


class _OldKey(msgspec.Struct, array_like=True):
    requests: int = 0
    errors: dict[str, int] = {}


class _OldMessage(msgspec.Struct, array_like=True):
    """As the first version reads it."""

    version: int
    instance: str
    start: int
    sequence: int
    service: str
    sent_at: int
    evaluations: dict[tuple[str, str, str], int]
    policies: dict[tuple[str, str, str, str], int]
    requests: dict[tuple[str, str, str, str], _OldKey]


def test_an_older_reader_reads_what_is_part_of_no_drill() -> None:
    subject = Telemetry("i-1", "support")
    subject.record(KEY, Report("timeout", attempts=(big("timeout"),)))
    data = subject.message()
    assert data is not None

    old = msgspec.msgpack.decode(data, type=_OldMessage)
    assert old.requests[tuple(KEY[:4])].errors == {"timeout": 1}  # type: ignore[index]


def test_an_older_message_is_read() -> None:
    fields = [
        1,
        "i-1",
        5,
        1,
        "support",
        9,
        {},
        {},
        {("support-reply", "big-1", "big", ""): [2, {"timeout": 1}]},
        {},
        {},
        0,
    ]
    message = decode(msgspec.msgpack.encode(fields))

    assert message.requests == {KEY: RequestTotals(2, {"timeout": 1})}


def test_a_message_that_grows_large_takes_no_more_series() -> None:
    """Each message is smaller than what an SDK key may send, whatever is counted."""
    subject = Telemetry("i-1", "support")
    sizes = []
    for number in range(300):
        for duration_ms in range(20, 4_000, 40):
            key = KEY._replace(request_class=f"class-{number}")
            subject.record(key, Report(duration_ms=duration_ms, attempts=(big(), small("timeout"))))
        message = subject.message()
        assert message is not None
        sizes.append(len(message))

    assert max(sizes) < 64 * 1024
    counted = decode(message)
    assert sum(totals.requests for totals in counted.requests.values()) == 300 * 100
    assert counted.requests[RequestKey(OTHER, "", "", "")].requests > 0
