"""Evidence in words: no logarithm reaches a person."""

import math

import pytest

from controlplane.rollouts.evidence import Judged
from controlplane.rollouts.words import describe, level, limit

REFUSAL = Judged("refusal", "guardrail", "open", 1.5, 0.0731, 0.02, 400, 3_600, evidence=12.34, threshold=40.0)
DURATION = Judged(
    "duration", "guardrail", "breached", math.log(2.5), math.log(4_200.0), math.log(620.0), 300, 900,
    lower=math.log(2.6), upper=math.log(17.5),
)  # fmt: skip
QUALITY = Judged("quality", "gate", "open", -0.02, 0.912, 0.86, 300, 900, lower=-0.031, upper=0.07)
SILENT = Judged("quality", "gate", "open", -0.02, None, None, 3, 9)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (REFUSAL, "refusal 7.31 % against 2.00 %, evidence 12.3 of 40"),
        (DURATION, "duration is 2.60 to 17.50 times the control's, limit 2.5 times"),
        (QUALITY, "quality differs by -0.031 to +0.070, limit -0.02"),
        (SILENT, "quality has too few units (3 and 9)"),
    ],
)
def test_what_was_judged(found: Judged, words: str) -> None:
    assert describe(found) == words


def test_levels_have_the_unit_of_their_measure() -> None:
    assert [level(found, found.treatment) for found in (REFUSAL, DURATION, QUALITY, SILENT)] == [
        "7.31 %", "4.20 s", "0.912", "nothing",
    ]  # fmt: skip
    assert level(DURATION, DURATION.control) == "620 ms"
    assert [limit(found) for found in (REFUSAL, DURATION, QUALITY)] == ["1.5 times", "2.5 times", "-0.02"]
