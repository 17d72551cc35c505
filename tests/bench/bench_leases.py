"""What a lease of a budget window costs, beside a bare acknowledged message of JetStream, and what a request pays."""

import asyncio
import tempfile
import time
from pathlib import Path

from brownout.model.values import Window
from brownout.telemetry.ledger import Key, Ledger
from brownout.wire.leases import EVERYONE, Ask, Grant
from controlplane.budgets.counters import Counters
from controlplane.budgets.leases import Leases
from controlplane.embedded.nats import EmbeddedNats
from controlplane.kit.clock import SystemClock
from controlplane.kit.jetstream import JetStream, Message
from controlplane.kit.link import Link
from controlplane.kit.tasks import end
from tests.bench.report import Ratio, Report

LESSEES, LIMIT = 40, 1_000_000
WINDOW = Window("tokens", LIMIT, "month")
ASK = Ask("budget", "standard", EVERYONE, 0, need=500, want=20_000)
ROUNDS = 2_000


def run() -> Report:
    granted, leases, lease_s, bare_s = asyncio.run(_served())
    request_s = _request()
    return Report(
        f"leases of one window of {LIMIT:,} by {LESSEES} instances",
        {
            "granted": f"{granted:,}", "leases": f"{leases:,}", "a lease": f"{lease_s * 1e3:.2f} ms",
            "a message": f"{bare_s * 1e3:.2f} ms", "reserve and settle": f"{request_s * 1e6:.1f} µs",
        },
        (
            Ratio("granted / limit, above", granted / LIMIT, 1.0),
            Ratio("granted / limit, below", LIMIT / granted, 1.0),
            Ratio("a lease / an acknowledged message", lease_s / bare_s, 3.0),
            Ratio("what a request pays / 20 µs", request_s / 20e-6, 1.0),
        ),
    )  # fmt: skip


async def _served() -> tuple[int, int, float, float]:
    """What 40 instances that ask at once were granted together, in how many leases, the time of one alone, and of a
    message."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedNats(Path(folder)) as nats:
        link = Link([nats.url])
        running = asyncio.create_task(link.run())
        while not link.connected:  # noqa: ASYNC110 - a link has no event for it
            await asyncio.sleep(0.01)
        jetstream = JetStream(link)
        service = Leases(_NO_LIMITS, Counters(jetstream, 1), SystemClock(), lambda _: LESSEES)  # type: ignore[arg-type]
        counts = await asyncio.gather(*(_lessee(service) for _ in range(LESSEES)))
        granted, leases = sum(each[0] for each in counts), sum(each[1] for each in counts)
        began = time.perf_counter()
        for _ in range(ROUNDS):
            await service._grant("alone", "key", Window("tokens", 2**40, "month"), ASK)
        lease_s = (time.perf_counter() - began) / ROUNDS
        await jetstream.create_stream({"name": "BARE", "subjects": ["bare"], "storage": "file", "num_replicas": 1})
        began = time.perf_counter()
        for n in range(ROUNDS):
            await jetstream.publish_one(Message("bare", b"", {"n": str(n)}), 5)
        bare_s = (time.perf_counter() - began) / ROUNDS
        await end(running)
    return granted, leases, lease_s, bare_s


_NO_LIMITS = object()


async def _lessee(service: Leases) -> tuple[int, int]:
    granted = leases = dry = 0
    while dry < 3:
        found: Grant = await service._grant("production", "key", WINDOW, ASK)
        granted, leases = granted + found.granted, leases + 1
        dry = 0 if found.granted else dry + 1
    return granted, leases


def _request() -> float:
    ledger, key, now = Ledger(), Key("budget", "standard", EVERYONE, "tokens", "month"), 1_800_000_000.0
    ledger.spend(key, Window("tokens", 2**50, "month"), 0, now)
    began = time.thread_time()
    for _ in range(ROUNDS * 10):
        taken = ledger.reserve(key, Window("tokens", 2**50, "month"), 1_000, now)
        if taken:
            ledger.settle(taken, 900)
    return (time.thread_time() - began) / (ROUNDS * 10)
