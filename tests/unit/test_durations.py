"""Durations are measured by a monotonic clock and instants come from an injected one: a clock that is set, on one server
or on all, must neither lock people out nor move what was promised."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.access.memory import ActorMemory
from controlplane.access.throttle import LoginThrottle, Rate, RequestRates

ROOT = Path(__file__).parents[2] / "controlplane"

WALL = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}

OWN_CLOCK = {
    "kit/clock.py": "the one place that reads it",
    "cli/watch.py": "a line in a person's terminal, on their machine",
    "demo/fleet.py": "an instance of the demo, not the control plane",
}
"""May read the wall clock, and why."""

INSTANTS_AS_NUMBERS = {
    "access/audit.py": "an entry's instant",
    "access/authd.py": "when keys expire and were used",
    "access/oidc.py": "instants in cookies and tokens of others",
    "budgets/leases.py": "periods of the calendar, which SDKs compute too",
    "access/passes.py": "when a pass was made and ends",
    "budgets/service.py": "whether a period is over",
    "configuration/bundles.py": "when a bundle was signed",
    "emergency/loops.py": "which messages are over",
    "emergency/service.py": "when a message was signed",
    "publish/heartbeat.py": "the signed time",
    "telemetry/fleet.py": "when instances were seen: shown, and kept in Postgres",
    "telemetry/otlp.py": "OpenTelemetry's instants",
}
"""May make a number of the present instant, and of what. Numbers invite subtraction: a duration is `Monotonic`'s."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def called(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of what is called or passed on; `datetime.datetime.now` counts as `datetime.now`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            yield node.lineno, f"{owner}.{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            for name in node.names:
                yield node.lineno, f"time.{name.name}"


def numbers(tree: ast.Module) -> Iterator[int]:
    """Lines with `….now().timestamp()`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "timestamp" and isinstance(node.value, ast.Call):
            inner = node.value.func
            if isinstance(inner, ast.Attribute) and inner.attr == "now":
                yield node.lineno


def test_nobody_reads_the_wall_clock_past_the_injected_one() -> None:
    found = [f"{name}:{line} {what}" for name, tree in modules() for line, what in called(tree) if what in WALL
             and name not in OWN_CLOCK]  # fmt: skip
    assert found == [], "take a controlplane.kit.clock.Clock for an instant, a Monotonic for a duration"


def test_the_present_instant_becomes_a_number_only_where_an_instant_is_meant() -> None:
    found = [f"{name}:{line}" for name, tree in modules() for line in numbers(tree) if name not in INSTANTS_AS_NUMBERS]
    assert found == [], "measure a duration with controlplane.kit.clock.Monotonic"


def test_there_is_one_source_of_durations() -> None:
    beside = ("kit/clock.py", "cli/", "demo/", "embedded/")  # processes of their own, and before anything is injected
    found = [f"{name}:{line}" for name, tree in modules() for line, what in called(tree) if what == "time.monotonic"
             and not name.startswith(beside)]  # fmt: skip
    assert found == [], "take a controlplane.kit.clock.Monotonic"


def test_the_lists_name_nobody_in_vain() -> None:
    trees = dict(modules())
    assert not [name for name in OWN_CLOCK if not any(what in WALL for _, what in called(trees[name]))]
    assert not [name for name in INSTANTS_AS_NUMBERS if not list(numbers(trees[name]))]


@pytest.mark.parametrize("name", ["access/throttle.py", "access/memory.py", "kit/background.py", "health/alarm.py"])
def test_what_measures_durations_holds_no_clock(name: str) -> None:
    names = {alias.name for node in ast.walk(dict(modules())[name]) if isinstance(node, ast.ImportFrom)
             for alias in node.names}  # fmt: skip
    assert not names & {"Clock", "SystemClock", "PostgresClock"}


def test_limits_need_nothing_but_time_passing() -> None:
    """However the server's clock is set meanwhile: nothing here has one to ask."""
    elapsed = [50.0]
    rate = Rate(lambda: elapsed[0], per_s=1, burst=2)
    assert [rate.wait_s("a") for _ in range(3)] == [0, 0, 1]
    elapsed[0] += 1
    assert rate.wait_s("a") == 0
    throttle = LoginThrottle(lambda: elapsed[0])
    throttle.begin("mara", "198.51.100.7", "")
    RequestRates(lambda: elapsed[0], per_principal_s=1, per_address_s=1).by_address("198.51.100.7")
    assert ActorMemory(lambda: elapsed[0]).recall("nobody") is None
