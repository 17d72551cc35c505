"""Evidence in words: no logarithm reaches a person."""

import math
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from controlplane.rollouts.values import Judged
from controlplane.rollouts.words import describe, level, limit, strength
from controlplane.web.rollouts.pages import evidence_chart

REFUSAL = Judged("refusal", "guardrail", "open", 1.5, 0.0731, 0.02, 400, 3_600, evidence=12.34, threshold=40.0)
DURATION = Judged(
    "duration", "guardrail", "breached", math.log(2.5), math.log(4_200.0), math.log(620.0), 300, 900,
    lower=math.log(2.6), upper=math.log(17.5),
)  # fmt: skip
QUALITY = Judged("quality", "gate", "open", -0.02, 0.912, 0.86, 300, 900, lower=-0.031, upper=0.07)
SECONDS = Judged(
    "amount:seconds", "gate", "open", math.log(1.5), math.log(12.0), math.log(10.0), 300, 900,
    lower=math.log(0.9), upper=math.log(1.6),
)  # fmt: skip
OFFENDED = Judged("event:thumbs-down", "guardrail", "open", 1.25, 0.1, 0.05, 400, 3_600, evidence=3.0, threshold=40.0)
SILENT = Judged("quality", "gate", "open", -0.02, None, None, 3, 9)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (REFUSAL, "refusal 7.31 % against 2.00 %, evidence 12.3 of 40"),
        (DURATION, "duration is 2.60 to 17.50 times the control's, limit 2.5 times"),
        (QUALITY, "quality differs by -0.031 to +0.070, limit -0.02"),
        (SECONDS, "seconds (amount) is 0.90 to 1.60 times the control's, limit 1.5 times"),
        (OFFENDED, "thumbs-down (event) 10.00 % against 5.00 %, evidence 3 of 40"),
        (SILENT, "quality has too few units (3 and 9)"),
    ],
)
def test_what_was_judged(found: Judged, words: str) -> None:
    assert describe(found) == words


def test_levels_have_the_unit_of_their_measure() -> None:
    assert [level(found, found.treatment) for found in (REFUSAL, DURATION, QUALITY, SILENT)] == [
        "7.31 %", "4.20 s", "0.912", "nothing",
    ]  # fmt: skip
    assert level(SECONDS, SECONDS.treatment) == "12"
    assert level(DURATION, DURATION.control) == "620 ms"
    assert [limit(found) for found in (REFUSAL, DURATION, QUALITY)] == ["1.5 times", "2.5 times", "-0.02"]


def test_a_chart_has_the_unit_of_the_evidence() -> None:
    """Bounds of a time are multiples of the control's; of quality they are what they are."""
    begun = datetime(2026, 11, 22, 12, tzinfo=UTC)
    times = (begun, begun + timedelta(minutes=1))
    duration = msgspec.structs.replace(
        DURATION, times=times, lower_over_time=(None, math.log(1.42)), upper_over_time=(None, math.log(1.84))
    )
    now = begun + timedelta(seconds=93)
    drawn = evidence_chart(duration, begun + timedelta(seconds=10), now)
    assert drawn is not None
    assert (drawn.unit, drawn.lines) == ("times the control's", ("lower bound", "upper bound", "limit"))
    assert [row.values for row in drawn.rows] == [("", "", "2.5"), ("", "", "2.5"), ("1.42", "1.84", "2.5")]
    assert [row.at - int(begun.timestamp()) for row in drawn.rows] == [10, 60, 93], "from the start until now"
    quality = evidence_chart(
        msgspec.structs.replace(QUALITY, times=times, lower_over_time=(-0.1, -0.03), upper_over_time=(0.1, 0.07)),
        begun, now,
    )  # fmt: skip
    assert quality is not None
    assert (quality.unit, quality.totals) == ("", ("-0.03", "0.07", "-0.02"))


def test_a_chart_ends_with_what_the_table_says() -> None:
    begun = datetime(2026, 11, 22, 12, tzinfo=UTC)
    found = msgspec.structs.replace(REFUSAL, times=(begun,), evidence_over_time=(REFUSAL.evidence or 0.0,))
    drawn = evidence_chart(found, begun, begun + timedelta(seconds=30))
    assert drawn is not None
    assert drawn.totals[0] == strength(found)
    assert f"{float(drawn.rows[-1].values[0]):.3g}" == strength(found).split(" of ", maxsplit=1)[0]
