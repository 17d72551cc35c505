"""The demo's services, as a process of their own: real SDK instances, steady traffic, a provider that can be broken.

Started by `brownout up --demo`: `python -m controlplane.demo.fleet FILE`, a file of FleetSettings. Ends with its parent.
"""

import asyncio
import contextlib
import math
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from brownout import Brownout
from brownout.runner import Reply
from brownout.runner.cache import MemoryCache
from controlplane.demo.control import ControlFile
from controlplane.demo.people import arrivals
from controlplane.demo.provider import Provider
from controlplane.demo.service import DemoService

SERVICES = {
    "support-copilot": ("support-reply", 20),
    "ticket-summaries": ("support-summary", 10),
    "refund-desk": ("refund-decision", 6),
}
"""Service → the request class it serves, and how many instances of it run."""

TRAFFIC = {"support-reply": 14.0, "support-summary": 7.0, "refund-decision": 3.0}
"""Requests a second, around which the day swings."""

SWING, DAY_S = 0.25, 1_200
MAX_OPEN = 2_000
"""Requests under way; a slow provider must not pile them up without end."""

READY_S = 20.0


class FleetSettings(msgspec.Struct, frozen=True):
    nats_url: str
    environment: str
    sdk_key: str
    control_file: str
    speed: int
    """How many times the usual traffic."""


def main() -> None:
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=FleetSettings)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(settings))


async def _run(settings: FleetSettings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    chance = random.Random(1)  # noqa: S311 - traffic, not secrets
    provider = Provider(chance)
    with _clients(settings) as clients:
        await asyncio.to_thread(_wait_configured, clients)
        caches = {name: MemoryCache() for name in SERVICES}
        fleets = {
            request_class: [DemoService(client, provider, chance, caches[name]) for client in clients[name]]
            for name, (request_class, _) in SERVICES.items()
        }
        work = [asyncio.create_task(_traffic(name, fleet, chance, settings.speed)) for name, fleet in fleets.items()]
        work.append(asyncio.create_task(_follow(ControlFile(settings.control_file), provider)))
        await stopping.wait()
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


@contextlib.contextmanager
def _clients(settings: FleetSettings) -> Iterator[dict[str, list[Brownout]]]:
    clients = {
        name: [
            Brownout.connect(
                settings.nats_url, key=settings.sdk_key, environment=settings.environment, service=name, disk=False
            )
            for _ in range(n)
        ]
        for name, (_, n) in SERVICES.items()
    }
    try:
        yield clients
    finally:
        for client in (one for some in clients.values() for one in some):
            client.close(0.2)


def _wait_configured(clients: dict[str, list[Brownout]]) -> None:
    """As services do before they take requests; what they would answer until then is their own defaults."""
    until = time.monotonic() + READY_S
    for client in (one for some in clients.values() for one in some):
        client.wait_configured(max(0.0, until - time.monotonic()))


async def _traffic(request_class: str, fleet: list[DemoService], chance: random.Random, speed: int) -> None:
    """Requests arrive at random, at a rate that swings as a (short) day does."""
    people = arrivals(chance)
    under_way: set[asyncio.Task[Reply]] = set()
    while True:
        rate = speed * TRAFFIC[request_class] * (1 + SWING * math.sin(time.time() / DAY_S * 2 * math.pi))
        await asyncio.sleep(chance.expovariate(rate))
        if len(under_way) < MAX_OPEN:
            task = asyncio.create_task(chance.choice(fleet).serve(request_class, next(people)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)


async def _follow(control: ControlFile, provider: Provider) -> None:
    while True:
        provider.condition = control.read()
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    main()
