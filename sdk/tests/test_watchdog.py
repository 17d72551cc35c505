"""A sync thread that works is never replaced; stuck ones are, a bounded number of times, and the client says when no more are."""

import asyncio
import logging
import threading
from typing import Any, Literal

import psutil
import pytest

from brownout import Brownout, wire
from brownout._sync import engine, watchdog
from brownout._sync.replica import Replica
from brownout._sync.sink import Resources
from brownout._sync.updater import Updater
from brownout._sync.watchdog import BACKOFF_S, LOOK_EVERY_S, LOOKS, MAX_STUCK, STALLED_S, Watchdog
from brownout.status import Counters, SyncState
from sdk.tests.history import History
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess
from sdk.tests.waiting import PATIENCE_S, eventually, follows

DESCRIPTORS = 4
"""Of one sync thread: its selector, its loop's pair, its connection."""


def test_a_thread_that_works_is_never_stuck_however_slow_it_is() -> None:
    dog, now = Watchdog(), 100.0
    for step in range(1_000):
        for _ in range(14):
            now += 1.0
            assert not dog.is_stuck(now, (0.0, step)), "its loop never turned, but it works"


def test_a_thread_without_a_sign_of_work_is_stuck_after_several_looks() -> None:
    dog = Watchdog()
    assert not dog.is_stuck(0.0, "sign")
    assert not dog.is_stuck(STALLED_S, "sign")
    found = [dog.is_stuck(STALLED_S + (n + 1) * LOOK_EVERY_S, "sign") for n in range(LOOKS)]
    assert found == [False] * (LOOKS - 1) + [True]
    assert not dog.is_stuck(STALLED_S + 10, "another sign")


def test_a_process_that_did_not_run_has_no_stuck_thread() -> None:
    dog = Watchdog()
    dog.is_stuck(0.0, 1)
    for burst in range(100):
        assert not dog.is_stuck(3_600.0 + burst / 1_000, 1), "many looks at one moment are one look"
    assert not dog.is_stuck(3_601.0, 2)


def test_replacements_come_later_each_time_and_soon_again_after_health() -> None:
    dog, now, waits = Watchdog(), 0.0, []
    assert dog.may_replace(now)
    for _ in range(6):
        began = now
        while not dog.may_replace(now):
            now += 1.0
        waits.append(now - began)
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (BACKOFF_S[0], BACKOFF_S[1])
    for second in range(400):
        dog.is_stuck(now + second, second)
    assert dog.may_replace(now + 400)
    assert not dog.may_replace(now + 400)
    assert dog.may_replace(now + 401)


def test_work_is_seen_within_one_long_catch_up(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything happens in one turn of the loop; what moves is the counter."""
    counters = Counters()
    replica = Replica(history.environment, history.verifier(), Resources(), counters)
    replica.restore(*history.snapshot())
    seen: list[int] = []
    verify = wire.Verifier.verify

    def verify_and_look(*arguments: Any) -> bool:
        seen.append(counters.steps)
        return verify(*arguments)

    monkeypatch.setattr(wire.Verifier, "verify", verify_and_look)
    before = counters.steps
    replica.offer_all([history.set_flag(f"n-{number}", on=True) for number in range(50)], logged=True)
    assert seen == list(range(before + 1, before + 51))


def test_stuck_threads_cost_a_bounded_number_of_threads_and_descriptors(
    publisher: LogPublisher,
    history: History,
    shared_nats: NatsProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(watchdog, "STALLED_S", 0.1)
    monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(watchdog, "BACKOFF_S", (0.01, 0.01))
    monkeypatch.setattr(engine, "TICK_S", 0.02)
    release = threading.Event()
    started: list[Updater] = []
    make = engine.Engine._make_updater

    def make_stuck(self: engine.Engine) -> Updater:
        updater = make(self)
        started.append(updater)
        if len(started) <= MAX_STUCK + 1:
            updater._stopping = _Blocks(release)
        return updater

    monkeypatch.setattr(engine.Engine, "_make_updater", make_stuck)
    before = psutil.Process().num_fds()
    options = {"key": history.sdk_key, "environment": history.environment, "disk": False}
    with caplog.at_level(logging.ERROR, "brownout"), Brownout.connect(shared_nats.url, **options) as client:
        eventually(client, lambda: client.status.sync is SyncState.STUCK)
        for _ in range(50):
            client._engine._tick()
        assert len(started) == MAX_STUCK + 1
        assert sum(updater.is_alive() for updater in started) == MAX_STUCK + 1
        assert psutil.Process().num_fds() <= before + DESCRIPTORS * (MAX_STUCK + 1)
        assert client.status.counters.restarts == MAX_STUCK
        assert "stuck" in client.status.last_error
        assert sum("nothing is updated" in record.getMessage() for record in caplog.records) == 1

        release.set()  # where one ends there is room for another, which may take over just now
        monkeypatch.setattr(watchdog, "STALLED_S", PATIENCE_S)
        follows(client, history.revision)
        publisher.set_flag("first", on=True)
        follows(client, history.revision)
        eventually(client, lambda: client.status.sync is SyncState.LIVE)
        for updater in started:
            if updater is not client._engine._updater:
                updater._thread.join(PATIENCE_S)
        assert [updater for updater in started if updater.is_alive()] == [client._engine._updater]


class _Blocks(asyncio.Event):
    """Whoever waits for it stops the loop until `release` is set."""

    def __init__(self, release: threading.Event) -> None:
        super().__init__()
        self._release = release

    async def wait(self) -> Literal[True]:
        self._release.wait(PATIENCE_S)
        return await super().wait()
