"""From an acknowledged commit to SDKs: one beside bare Postgres and bare NATS, a thousand beside bare core NATS."""

import asyncio
import tempfile
import time
from pathlib import Path

import nats
from nats.aio.client import Client

from tests.bench.audience import Audience
from tests.bench.follower import RAW_SUBJECT
from tests.bench.plane import Plane, running_plane
from tests.bench.report import Ratio, Report, ms, percentile

ROUNDS = 300
CROWD = 1_000
CROWD_PROCESSES = 4
CROWD_ROUNDS = 30
LEAST = 0.1
"""Fan-out keeps every core busy for a moment: whatever else the machine does can only lengthen it."""
CROWD_PAUSE_S = 1.0
"""Lets the presence of a thousand instances pass, which they send spread over some tenths of a second."""


def run() -> Report:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> Report:
    async with running_plane(folder) as plane:
        client = await nats.connect(plane.nats_url)
        async with plane.database.engine.begin() as connection:
            await connection.exec_driver_sql("CREATE TABLE bare (id bigint PRIMARY KEY, payload bytea)")
        await plane.commit(0)
        payload = await plane.payload()
        inserts, raw, delivered = await _one(plane, client, payload)
        crowd_raw, crowd = await _crowd(plane, client, payload)
        await client.close()
    insert, receive, one = (percentile(samples[ROUNDS // 10 :], 0.5) for samples in (inserts, raw, delivered))
    bare, last = (percentile(samples, LEAST) for samples in (crowd_raw, crowd))
    return Report(
        f"From an acknowledged commit to the SDK, p50 of {ROUNDS}; to {CROWD:,} SDKs",
        {
            "bare Postgres insert commit, fsync on": ms(insert),
            "bare NATS publish → receive in another process": ms(receive),
            "commit acknowledged → applied by an SDK in another process": ms(one),
            "  its p99": ms(percentile(delivered, 0.99)),
            f"bare core NATS publish → last of {CROWD:,} connections, p10": ms(bare),
            "  p50 of that": ms(percentile(crowd_raw, 0.5)),
            f"commit acknowledged → applied by the last of {CROWD:,} SDKs, p10": ms(last),
            "    p50 of that": ms(percentile(crowd, 0.5)),
        },
        (
            Ratio("one SDK beside bare Postgres and bare NATS together", one / (insert + receive), 3.0),
            Ratio(f"{CROWD:,} SDKs beside bare core NATS", last / bare, 1.5),
        ),
    )


async def _one(plane: Plane, client: Client, payload: bytes) -> tuple[list[float], list[float], list[float]]:
    inserts, raw, delivered = [], [], []
    async with Audience(plane, 1, 1) as audience:
        for number in range(1, ROUNDS + 1):  # in turns, so that whatever else the machine does hits all alike
            inserts.append(await _insert(plane, number))
            raw.append(await _raw(client, audience, number, payload))
            delivered.append(await _delivered(plane, audience, number))
    return inserts, raw, delivered


async def _crowd(plane: Plane, client: Client, payload: bytes) -> tuple[list[float], list[float]]:
    raw, delivered = [], []
    async with Audience(plane, CROWD, CROWD_PROCESSES) as audience:
        for number in range(1, CROWD_ROUNDS + 1):
            await asyncio.sleep(CROWD_PAUSE_S)
            raw.append(await _raw(client, audience, number, payload))
            await asyncio.sleep(CROWD_PAUSE_S)
            delivered.append(await _delivered(plane, audience, ROUNDS + number))
    return raw, delivered


async def _insert(plane: Plane, number: int) -> float:
    started = time.monotonic()
    async with plane.database.engine.begin() as connection:
        await connection.exec_driver_sql("INSERT INTO bare VALUES ($1, $2)", (number, b"x" * 600))
    return time.monotonic() - started


async def _raw(client: Client, audience: Audience, number: int, payload: bytes) -> float:
    started = time.monotonic()
    await client.publish(RAW_SUBJECT, payload, headers={"Number": str(number)})
    return await audience.last("raw", number) - started


async def _delivered(plane: Plane, audience: Audience, number: int) -> float:
    revision = await plane.commit(number)
    acknowledged = time.monotonic()
    return await audience.last("sdk", revision) - acknowledged
