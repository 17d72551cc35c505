"""The client's loops get something hostile, then something honest, and handle the honest."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from brownout._sync import reporter
from brownout._sync.clock import SignedTime
from brownout._sync.outside import Outside
from brownout._sync.reporter import Reporter
from brownout._sync.watch import Watch
from brownout.config import Config
from brownout.status import SyncState

FAULTS = [ValueError("odd"), KeyError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()]
"""The last three are not of `Exception`: a callback that ends the process or awaits what was cancelled raises them."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_the_watch_goes_on_whatever_a_job_or_a_look_raises(fault: BaseException) -> None:
    looks: list[int] = []
    looked, handled = threading.Event(), threading.Event()

    def tick() -> float:
        looks.append(1)
        if len(looks) == 2:
            raise fault
        if len(looks) > 3:
            looked.set()
        return 0.01

    def hostile() -> None:
        raise fault

    watch = Watch(tick)
    try:
        watch.post(hostile)
        watch.post(handled.set)
        watch.post(lambda: None)
        assert handled.wait(20)
        assert looked.wait(20)
        assert watch.is_alive()
    finally:
        assert watch.stop(20)


async def reported(service: str, collect: Any, monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """The subjects of the first messages of a reporter that reports all the time."""
    sent: list[str] = []

    class Client:
        async def publish(self, subject: str, _: bytes) -> None:
            sent.append(subject.rpartition(".")[2])

    monkeypatch.setattr(reporter, "_EVERY_S", 0.001)
    connection = SimpleNamespace(client=Client(), is_open=True, may_report=True)
    replica = SimpleNamespace(epoch=1, revision=1, time=SignedTime(), outside=Outside(SignedTime()))
    progress = SimpleNamespace(sync=SyncState.LIVE, applied_at_ms=0)
    config = Config(urls=("nats://x",), key=None, environment="production", service=service)
    running = asyncio.create_task(Reporter(config, "i", connection, replica, progress).run(collect))  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        while len(sent) < times:
            assert not running.done(), running.exception()
            await asyncio.sleep(0.001)
    running.cancel()
    return sent[:times]


def test_counts_that_cannot_be_sent_end_no_presence(monkeypatch: pytest.MonkeyPatch) -> None:
    def collect(_: bool) -> bytes:
        raise OverflowError("an integer above int64")

    assert asyncio.run(reported("support", collect, monkeypatch, 3)) == ["p", "p", "p"]


def test_a_presence_that_cannot_be_made_ends_no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    half_a_pair = "support \ud800"
    assert asyncio.run(reported(half_a_pair, lambda _: b"counts", monkeypatch, 3)) == ["m", "m", "m"]
