"""A thousand instances in one process, for bench_ingest: `python -m tests.bench.telemetry_load URL ENVIRONMENT SECONDS`."""

import asyncio
import random
import sys
import time

import msgspec
import nats

from brownout.telemetry.counters import Exposure, Telemetry
from brownout.telemetry.requests import Report
from brownout.wire import Presence
from brownout.wire.telemetry import EvaluationKey, RequestKey, rollout_rule

INSTANCES = 1_000
INTERVAL_S = 10.0
RULE = rollout_rule("new-model", 1, 0)
CLASSES = ("support-reply", "support-summary", "refund-decision", "search", "translate")


def busy(telemetry: Telemetry, chance: random.Random) -> None:
    """What an instance serving two requests a second counts in ten seconds."""
    for flag in range(30):
        telemetry.count_evaluation(EvaluationKey(f"flag-{flag}", "on", "SPLIT"), chance.randint(1, 50))
    for i in range(20):
        variant = "big" if chance.random() < 0.1 else "small"
        key = RequestKey(CLASSES[i % len(CLASSES)], variant, variant, "")
        report = Report(
            error_class="timeout" if chance.random() < 0.01 else None, input_tokens=1_000, output_tokens=200,
            duration_ms=chance.lognormvariate(6.5, 0.4), time_to_first_token_ms=chance.lognormvariate(5, 0.4), quality=0.9,
        )  # fmt: skip
        telemetry.record(key, report, [Exposure(RULE, variant, f"u-{chance.randrange(1_000_000)}")])


async def main(url: str, environment: str, seconds: float) -> None:
    connection = await nats.connect(url)
    chance = random.Random(3)
    fleet = [Telemetry(f"i-{n}", "support") for n in range(INSTANCES)]
    began = time.monotonic()
    turn = 0
    while time.monotonic() - began < seconds:
        telemetry = fleet[turn % INSTANCES]
        name = f"i-{turn % INSTANCES}"
        busy(telemetry, chance)
        message = telemetry.message(final=True)
        assert message is not None
        now = int(time.time() * 1000)
        presence = Presence(name, "support", "0.1.0", 1, 1, "LIVE", 0.0, now, applied_at=now)
        await connection.publish(f"bot.{environment}.key.{name}.m", message)
        await connection.publish(f"bot.{environment}.key.{name}.p", msgspec.json.encode(presence))
        turn += 1
        ahead = began + turn * INTERVAL_S / INSTANCES - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
    await connection.drain()
    print(turn, turn * 20)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
