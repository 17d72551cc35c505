"""Replays sdk/conformance/ladder through the state machine."""

import pytest

from brownout.runner.ladder import begin, step
from sdk.conformance.traces import COLUMNS, Golden, policy, traces


@pytest.mark.parametrize("golden", traces(), ids=str)
def test_each_event_leads_to_the_golden_action(golden: Golden) -> None:
    trace = golden.trace
    state = begin(policy(trace.policy), trace.facts)
    for at, each in enumerate(trace.steps):
        state, action = step(state, each.event)
        expected = each.action
        if hasattr(expected, "timeout_s") and expected.timeout_s is not None:
            assert action.timeout_s == pytest.approx(expected.timeout_s), at  # type: ignore[union-attr]
            action = type(action)(**{**{f: getattr(action, f) for f in action.__struct_fields__}, "timeout_s": expected.timeout_s})  # type: ignore[arg-type]  # fmt: skip
        assert action == expected, f"step {at}, {each.event}"


def test_every_cell_of_the_table_has_a_trace() -> None:
    cells = {(golden.row, golden.trace.column) for golden in traces() if golden.trace.column}
    rows = {row for row, _ in cells}
    assert rows == {
        "server_error", "overloaded", "timeout", "rate_limited", "rate_limited_ramp", "budget_provider", "budget_ours",
        "auth", "context_window", "bad_request", "refusal", "content_filter", "filter_unavailable", "format_error",
        "tool_error", "cancelled",
    }  # fmt: skip
    assert cells == {(row, column) for row in rows for column in COLUMNS}
