"""What the page says about a commit on its way."""

from datetime import UTC, datetime, timedelta

from controlplane.telemetry.values import InstanceView, Spread
from controlplane.web.safe_mode.convergence import convergence

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLICK = NOW - timedelta(milliseconds=400)


def instance(name: str, revision: int) -> InstanceView:
    return InstanceView(name, "support", "0.1.0", 1, revision, 0, "LIVE", 0.0, NOW, NOW, live=True, lagging=False)


def spread(revision: int, took_100_ms: int | None) -> Spread:
    return Spread(1, revision, CLICK + timedelta(milliseconds=50), 2, 2, 100.0, 60, 20, 40, took_100_ms, ())


def test_times_count_from_the_click() -> None:
    found = convergence(spread(7, 60), [instance("a", 7), instance("b", 7)], NOW, since=CLICK, revision=7)
    assert found is not None
    assert (found.took, found.done, found.applied) == ("in 0.11\u00a0s", True, 2)


def test_what_an_earlier_commit_took_is_not_said_of_the_one_awaited() -> None:
    found = convergence(spread(6, 60), [instance("a", 6), instance("b", 7)], NOW, since=CLICK, revision=7)
    assert found is not None
    assert (found.took, found.done, found.applied, found.live) == ("", False, 1, 2)
    assert found.steps == "100 % still open after 0.4\u00a0s"
    assert [each.instance for each in found.laggards] == ["a"]


def test_who_has_it_is_not_waited_for_when_nobody_remembers_how_long_it_took() -> None:
    found = convergence(spread(7, None), [instance("a", 7), instance("b", 8)], NOW, since=CLICK, revision=7)
    assert found is not None
    assert (found.applied, found.live, found.steps) == (2, 2, "50 % in 0.07\u00a0s · 95 % in 0.09\u00a0s")
