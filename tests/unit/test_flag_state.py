"""What the list of flags says about each: what cohorts are served, when last, whether it looks stale."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from controlplane.telemetry.flag_use import FlagsServed, Served, Stale
from controlplane.web.flags.state import CohortServe, LineRule, cohort_serves, evaluated_words

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OLD, LATELY = NOW - timedelta(days=90), NOW - timedelta(hours=1)
QUIET = NOW - timedelta(days=31)


def rules(source: str) -> list[LineRule]:
    return msgspec.json.decode(source, type=list[LineRule])


def test_each_cohort_is_served_what_the_first_rule_that_names_it_says() -> None:
    found = cohort_serves(
        rules("""[
        {"if": [{"op": "in_cohort", "values": ["internal"]}], "serve": "big"},
        {"if": [{"op": "in_cohort", "values": ["beta"]}, {"attribute": "eur", "op": "lt", "values": [5]}],
         "serve": {"split": [{"variant": "big", "weight_bp": 500}, {"variant": "small", "weight_bp": 9500}]}},
        {"if": [{"op": "in_cohort", "values": ["internal", "staff"]}], "serve": "small"},
        {"if": [{"op": "in_cohort", "values": ["banned"], "negate": true}], "serve": "small"},
        {"if": [{"attribute": "plan", "op": "in", "values": ["pro"]}], "serve": "big"}
        ]""")
    )
    assert found == (
        CohortServe("internal", "big", partly=False),
        CohortServe("beta", "big 5\u00a0% · small 95\u00a0%", partly=True),
        CohortServe("staff", "small", partly=False),
    )


@pytest.mark.parametrize(
    ("seen", "changed_at", "since", "variants", "expected"),
    [
        ([], OLD, OLD, 2, "never"),
        ([], LATELY, OLD, 2, None),
        ([], OLD, LATELY, 2, None),
        ([], OLD, None, 2, None),
        ([Served("on", OLD, QUIET)], OLD, OLD, 2, "unused"),
        ([Served("on", OLD, LATELY)], OLD, OLD, 2, "one_variant"),
        ([Served("on", OLD, LATELY)], OLD, OLD, 1, None),
        ([Served("on", OLD, LATELY)], LATELY, OLD, 2, None),
        ([Served("on", LATELY, LATELY)], OLD, OLD, 2, None),
        ([Served("on", OLD, LATELY), Served("off", OLD, QUIET)], OLD, OLD, 2, "one_variant"),
        ([Served("on", OLD, LATELY), Served("off", OLD, LATELY)], OLD, OLD, 2, None),
    ],
)
def test_a_flag_is_stale_only_when_that_can_be_known(
    seen: list[Served], changed_at: datetime, since: datetime | None, variants: int, expected: Stale | None
) -> None:
    served = FlagsServed(since, {"web-search": tuple(seen)} if seen else {})
    assert served.stale("web-search", variants, changed_at, NOW) == expected


def test_last_evaluated_pretends_no_more_than_a_quarter_of_an_hour() -> None:
    assert evaluated_words(NOW - timedelta(minutes=14), NOW) == "within 15 min"
    assert evaluated_words(NOW - timedelta(minutes=46), NOW) == "46\u00a0min ago"
    assert evaluated_words(None, NOW) == ""
