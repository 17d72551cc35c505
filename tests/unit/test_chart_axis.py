"""Which of a chart's steps are over, and over which of them a rate is averaged."""

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.telemetry.axis import Axis

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def axis(counted: datetime | None, now: datetime, step_s: int = 60) -> Axis:
    return Axis.of(NOON + timedelta(seconds=20), NOON + 10 * MINUTE, step_s, counted=counted, now=now)


@pytest.mark.parametrize(
    ("seconds", "over"), [(0, 0), (59, 0), (60, 1), (61, 1), (570, 9), (599.9, 9), (600, 10), (9_999, 10)]
)
def test_a_step_is_over_when_its_time_is(seconds: float, over: int) -> None:
    found = axis(None, NOON + timedelta(seconds=seconds))
    assert len(found.times) == 10
    assert found.over == over


def test_rates_are_averaged_from_the_first_data_to_the_last_whole_step() -> None:
    found = axis(NOON + 7 * MINUTE, NOON + timedelta(minutes=9, seconds=30))
    assert found.averaged == found.times[7:9]
    assert found.minutes == 1


def test_nothing_is_averaged_before_a_step_with_data_is_over() -> None:
    assert axis(None, NOON + 10 * MINUTE).averaged == []
    assert axis(NOON + 9 * MINUTE, NOON + timedelta(minutes=9, seconds=30)).averaged == []


def test_quarters_of_an_hour() -> None:
    found = axis(NOON, NOON + 10 * MINUTE, step_s=900)
    assert (found.times, found.over, found.minutes) == ([int(NOON.timestamp())], 0, 15)
