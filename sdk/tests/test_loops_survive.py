"""The client's loops get something hostile, then something honest, and handle the honest."""

import asyncio
import itertools
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from brownout._sync import lessee, reporter
from brownout._sync.clock import SignedTime
from brownout._sync.lessee import Lessee
from brownout._sync.outside import Outside
from brownout._sync.reporter import Reporter
from brownout._sync.watch import Watch
from brownout.config import Config
from brownout.model.values import Window
from brownout.status import SyncState
from brownout.telemetry.ledger import Key
from brownout.telemetry.windows import Windows
from brownout.wire.leases import EVERYONE, Grant, decode_request, encode_answer

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


def test_answers_that_are_none_and_asks_that_cannot_be_sent_end_no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cuts us off, bytes that are no answer, then an honest answer: the lease arrives."""
    monkeypatch.setattr(lessee, "EVERY_S", 0.001)
    monkeypatch.setattr(lessee, "ANSWER_S", 0.01)
    window, key = Window("tokens", 1_000_000, "month"), Key("budget", "v", EVERYONE, "tokens", "month")
    ticks = itertools.count()
    windows = Windows(lambda: 1_800_000_000.0 + next(ticks) / 10, lambda: 1)
    sent: list[int] = []
    takers: list[Any] = []

    class Client:
        async def publish(self, _: str, data: bytes) -> None:
            number, asks = decode_request(data)
            sent.append(number)
            if len(sent) == 1:
                raise OSError("the connection was cut")
            for noise in (
                b"",
                b"\xc1",
                encode_answer(10**9, []),
                encode_answer(number + 50, [Grant(*key.place, 0, 10**9)]),
            ):
                takers[0](SimpleNamespace(payload=noise))
            if len(sent) > 2:
                grants = [Grant(ask.flag, ask.variant, ask.scope, ask.start, 700, 0, 900) for ask in asks]
                takers[0](SimpleNamespace(payload=encode_answer(number, grants)))

    class Connection:
        client, may_lease = Client(), True

        async def subscribe(self, _: str, taker: Any) -> None:
            takers.append(taker)

    async def granted() -> int:
        config = Config(urls=("nats://x",), key=None, environment="production", service="s")
        running = asyncio.create_task(Lessee(config, "i", Connection(), windows).run())  # type: ignore[arg-type]
        windows._ledger.fill(key, window, 1_800_000_000.0)
        async with asyncio.timeout(20):
            while not (found := windows._ledger._entries[key].granted):
                assert not running.done(), running.exception()
                windows.wake()
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.wait({running})
        return found

    assert asyncio.run(granted()) == 700
    assert windows._ledger.away, "the connection is gone, and with it whoever answers"
