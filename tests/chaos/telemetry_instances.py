"""Some instances for the chaos tests, counting and reporting until standard input closes.

`python -m tests.chaos.telemetry_instances NATS_URL ENVIRONMENT GROUP N`. Prints, a line each interval, how many requests
were counted before what was just sent; the last line is the final total, once it is known to be written down.
"""

import asyncio
import contextlib
import random
import sys

from nats.errors import Error as NatsError

from brownout.telemetry.counters import Telemetry
from brownout.telemetry.requests import Report
from brownout.wire.telemetry import RequestKey
from controlplane.kit.link import Link, LinkDownError, acknowledgement_of

INTERVAL_S = 0.4


async def main(url: str, environment: str, group: str, n: int) -> None:
    link = Link([url])
    running = asyncio.create_task(link.run())
    chance = random.Random(group)
    fleet = {f"{group}-{i}": Telemetry(f"{group}-{i}", "chaos") for i in range(n)}
    counted = 0
    closed = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not closed.done():
        for telemetry in fleet.values():
            for _ in range(chance.randint(0, 20)):
                telemetry.record(RequestKey("chaos", group, "v", ""), Report(duration_ms=5.0))
                counted += 1
        for name, telemetry in fleet.items():
            message = telemetry.message()
            with contextlib.suppress(LinkDownError, NatsError, OSError):
                for _ in range(chance.randint(1, 2) if message else 0):
                    await link.client.publish(f"bot.{environment}.key.{name}.m", message or b"")
        print(counted, flush=True)
        await asyncio.sleep(INTERVAL_S * chance.uniform(0.5, 1.5))
    for name, telemetry in fleet.items():
        await _hand_over(link, f"bot.{environment}.key.{name}.m", telemetry)
    print(counted, flush=True)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def _hand_over(link: Link, subject: str, telemetry: Telemetry) -> None:
    while True:
        message = telemetry.message(final=True)
        try:
            client = link.client
            answers = await client.subscribe(acknowledgement_of(subject))
            await client.publish(subject, message or b"", reply="asks")
            await answers.next_msg(5)
        except (LinkDownError, NatsError, OSError, TimeoutError):
            await asyncio.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
