"""Words are no reason to refuse a commit: whatever may be committed can be described."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brownout.model.resources import ResourceRef
from controlplane.configuration.store.draft import draft, settle
from controlplane.configuration.store.effective import effective
from controlplane.errors import InvalidInputError
from tests.integration.resources import Put, cohort, flag, put

NUMBERS = st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False)
LETTERS = "ab 1é→.\0"
TEXTS = st.text(LETTERS, max_size=4)
OPERANDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("in", "contains"), TEXTS | NUMBERS | st.booleans()),
    **dict.fromkeys(("starts_with", "ends_with"), st.text(LETTERS, min_size=1, max_size=4)),
    **dict.fromkeys(("lt", "lte", "gt", "gte"), NUMBERS),
    **dict.fromkeys(
        ("before", "after"),
        st.sampled_from(["0001-01-01T00:00:00Z", "2026-02-03T04:05:06+01:00", "9999-12-31T23:59:59Z"]),
    ),
    **dict.fromkeys(
        ("semver_eq", "semver_lt", "semver_lte", "semver_gt", "semver_gte"),
        st.sampled_from(["1", "1-rc.1", "2.3.4+build", "999999999999999999.0.0"]),
    ),
    "in_cohort": st.sampled_from(["beta", "gamma"]),
}
ATTRIBUTES = st.sampled_from(["plan", "plan.name", "a.b.c", "targeting_key", ".", "..x"])


@st.composite
def clauses(draw: st.DrawFn) -> dict[str, object]:
    op = draw(st.sampled_from([*OPERANDS, "exists"]))
    many = op in {"in", "contains", "semver_eq", "in_cohort", "starts_with", "ends_with"}
    values = [] if op == "exists" else draw(st.lists(OPERANDS[op], min_size=1, max_size=3 if many else 1))
    clause = {"op": op, "values": values, "negate": draw(st.booleans())}
    return clause if op == "in_cohort" else clause | {"attribute": draw(ATTRIBUTES)}


@st.composite
def flags(draw: st.DrawFn) -> Put:
    serve = st.sampled_from(["on", "off"])
    tests = draw(st.lists(st.lists(clauses(), max_size=3), max_size=3))
    rules = [{"id": f"r-{n}", "if": found, "serve": draw(serve)} for n, found in enumerate(tests)]
    return flag("search", rules=rules, default=draw(serve), enabled=draw(st.booleans()))


COHORTS = [
    cohort("beta", "u-1"),
    ("cohort", "gamma", {"any_of": [[{"attribute": "plan", "op": "in", "values": ["x"]}]]}),
]


def outcome(before: dict[ResourceRef, bytes], *resources: Put) -> tuple[dict[ResourceRef, bytes], tuple[str, ...]]:
    changes, faults = settle(draft([put(resource) for resource in resources]), before, datetime.now(UTC))
    assert not faults
    return before | {change.ref: change.after or b"" for change in changes}, effective(before, changes)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(flags(), flags())
def test_every_change_of_a_flag_that_may_be_committed_can_be_described(first: Put, second: Put) -> None:
    try:
        before, created = outcome({}, *COHORTS, first)
        _, changed = outcome(before, second)
    except InvalidInputError:
        return  # an operand that the model refuses, too
    assert all(line.strip() for line in (*created, *changed))
    assert changed
