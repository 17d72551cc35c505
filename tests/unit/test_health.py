"""Loops that say that they get on, and what people are told of a check, on a clock that the test moves."""

import asyncio
import io
import math
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from controlplane.access.queries import responders
from controlplane.cli.shown import delivery_text
from controlplane.cli.terminal import Terminal
from controlplane.errors import UnavailableError
from controlplane.health import Check, Health, watch
from controlplane.health.alarm import OVER_AFTER_S, RAISE_AFTER_S, REPEAT_S, Alarm
from controlplane.kit import background as module
from controlplane.kit import timekeeper
from controlplane.kit.background import PATIENCE_S, STEADY_S, Loops, background, beat
from controlplane.publish import service
from controlplane.telemetry.values import Delivered

NOW = datetime(2026, 11, 27, tzinfo=UTC)


class Time:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at

    def now(self) -> datetime:
        return NOW


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def loops(time: Time) -> Loops:
    return Loops(time)


def failing(loops: Loops) -> dict[str, str]:
    return {name: reason for name, reason in loops.reasons() if reason}


def test_whatever_breaks_is_seen_within_five_seconds() -> None:
    look = watch.EVERY_S
    assert PATIENCE_S + look <= 5
    assert timekeeper.EVERY_S + timekeeper.TIMEOUT_S + look <= 5
    assert responders.SILENT_S + watch.ASK_EVERY_S + look <= 5
    assert service.DISCOVER_S + service.LATE_S + look + RAISE_AFTER_S + look <= 5
    assert watch.ASK_EVERY_S + watch.PROBE_TIMEOUT_S + look <= 5


def test_a_loop_that_does_not_say_that_it_gets_on_is_stuck(time: Time, loops: Loops) -> None:
    loops.beat("expiry", 10)
    time.at += 10 + PATIENCE_S
    assert failing(loops) == {}
    time.at += 0.1
    assert "stuck" in failing(loops)["expiry"]
    loops.beat("expiry", 10)
    assert failing(loops) == {}
    loops.beat("expiry", math.inf)
    time.at += 1e9
    assert failing(loops) == {}


def test_a_loop_that_rides_out_its_faults_says_what_they_are(loops: Loops) -> None:
    loops.beat("expiry", 10, "Postgres is away")
    loops.beat("expiry", 0)
    assert failing(loops) == {"expiry": "expiry fails: Postgres is away"}
    loops.beat("expiry", 10, "")
    assert failing(loops) == {}


def test_a_loop_that_died_is_trusted_again_once_it_has_run_a_while(time: Time, loops: Loops) -> None:
    loops.started("expiry")
    loops.beat("expiry", 0)
    for _ in range(3):
        loops.died("expiry", KeyError("a secret"))
        assert "KeyError" in failing(loops)["expiry"]
        assert "secret" not in failing(loops)["expiry"]
        time.at += 60
        assert "expiry" in failing(loops), "it has not been started yet"
        loops.started("expiry")
        time.at += STEADY_S - 0.1
        assert "expiry" in failing(loops)
    time.at += 0.2
    assert failing(loops) == {}


def test_parts_of_a_loop_belong_to_its_check_and_end_with_it(time: Time, loops: Loops) -> None:
    loops.beat("publisher production.heartbeat", 0)
    loops.beat("publisher production.log", 0)
    loops.beat("publisher production-eu.log", 0)
    time.at += 60
    assert set(failing(loops)) == {"publisher production", "publisher production-eu"}
    loops.ended("publisher production")
    assert set(failing(loops)) == {"publisher production-eu"}


@pytest.mark.anyio
async def test_what_runs_in_the_background_is_registered_restarted_and_counted(loops: Loops) -> None:
    runs: list[int] = []

    async def work() -> None:
        runs.append(1)
        beat("work", 1)
        if len(runs) < 3:
            raise UnavailableError("Postgres is away")
        await asyncio.Event().wait()

    def restarts() -> float:
        return sum(
            sample.value for metric in module.RESTARTS.collect() for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels["loop"] == "work"
        )  # fmt: skip

    before = restarts()
    async with background("work", work, 0.01, loops=loops):
        async with asyncio.timeout(10):
            while len(runs) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert failing(loops) == {"work": "work died (Postgres is away) and is started again; the log has the rest"}
    assert restarts() - before == 2


def check(*, ok: bool) -> Check:
    return Check("nats", "ok" if ok else "failing", "" if ok else "there is no connection", NOW)


def told(alarm: Alarm, ok: Callable[[float], bool], seconds: float) -> list[tuple[float, str]]:
    """(when, what) of half a second's looks."""
    looks = [n / 2 for n in range(int(seconds * 2))]
    return [(at, news.event) for at in looks for news in alarm.look([check(ok=ok(at))], at)]


def test_people_are_told_once_and_once_that_it_is_over() -> None:
    assert told(Alarm(), lambda at: not 10 <= at < 300, 400) == [
        (10 + RAISE_AFTER_S, "health_failing"),
        (300 + OVER_AFTER_S, "health_ok"),
    ]


def test_what_comes_and_goes_is_one_failure() -> None:
    assert told(Alarm(), lambda at: at >= 600 or at % 20 < 10, 700) == [
        (10 + RAISE_AFTER_S, "health_failing"),
        (600 + OVER_AFTER_S, "health_ok"),
    ]


def test_a_moment_wakes_nobody() -> None:
    assert told(Alarm(), lambda at: at != 10, 100) == []


def test_a_failure_that_lasts_is_repeated_seldom() -> None:
    events = [event for _, event in told(Alarm(), lambda _: False, 2 * REPEAT_S + 60)]
    assert events == ["health_failing", "health_still_failing", "health_still_failing"]


@pytest.mark.anyio
async def test_a_check_keeps_its_reason_while_nothing_can_be_asked_and_says_since_when(
    time: Time, loops: Loops
) -> None:
    answers: list[dict[str, str] | Exception] = [{"schema": "older"}, UnavailableError("away"), {"schema": ""}]

    async def probe() -> dict[str, str]:
        answer = answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def notify(event: str, fields: dict[str, str]) -> None:
        events.append((event, fields["check"]))

    events: list[tuple[str, str]] = []
    health = Health([], [probe], loops, clock=time, monotonic=time, notify=notify)
    states = []
    for _ in range(3):
        await health.ask()
        await health.look()
        await asyncio.sleep(0)
        time.at += RAISE_AFTER_S
        states.append([(each.name, each.state, each.reason) for each in health.checks()])
        answers = answers[1:]
    assert states == [[("schema", "failing", "older")]] * 2 + [[("schema", "ok", "")]]
    assert events == [("health_failing", "schema")]
    time.at += 60
    assert health.checks()[0].name == "health", "a watch that does not look any more says so"


@pytest.mark.anyio
async def test_a_probe_that_breaks_is_no_good_news(time: Time, loops: Loops) -> None:
    broken = False

    async def probe() -> dict[str, str]:
        if broken:
            raise KeyError("x")
        return {"nats": ""}

    async def notify(event: str, fields: dict[str, str]) -> None:
        """Hears nothing."""

    health = Health([probe], [], loops, clock=time, monotonic=time, notify=notify)
    await health.look()
    assert health.failing() == ()
    broken = True
    await health.look()
    other = Health([probe], [], loops, clock=time, monotonic=time, notify=notify)
    await other.look()
    assert [each.name for each in other.failing()] == ["health"], "one that never worked is no good news either"
    assert [each.reason for each in health.failing()] == ["cannot be checked: KeyError"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Delivered(12, 12, "log", 34, 36), "committed r12 · published · 34 of 36 instances"),
        (Delivered(12, 14, "log", 0, 0), "committed r12 · published · no instance is live"),
        (Delivered(12, 12, "core", 1, 1), "published over core NATS"),
        (Delivered(12, 11, "log", 0, 36), "committed r12 · not published yet: NATS has r11"),
        (Delivered(12, None, None, 0, 36), "it is not known what NATS has"),
    ],
)
def test_the_command_line_says_how_far_a_commit_is(found: Delivered, said: str) -> None:
    out = io.StringIO()
    Terminal(out).print(delivery_text(found))
    assert said in out.getvalue()
    assert found.is_published == ("not published" not in out.getvalue())
