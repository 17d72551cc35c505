"""Rollups equal what the instances counted, whatever was lost, repeated, reordered or killed on the way."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import mmh3
import msgspec
import pytest
from sqlalchemy import text

from brownout.model.values import ErrorClass
from brownout.telemetry.attempted import Attempted
from brownout.telemetry.counters import Exposure, Telemetry
from brownout.telemetry.requests import Report
from brownout.wire.telemetry import (
    ArmTotals,
    EvaluationKey,
    RequestKey,
    RequestTotals,
    TelemetryMessage,
    decode,
    rollout_rule,
)
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.telemetry import readings, series, tables
from controlplane.telemetry.boundary import read_message
from controlplane.telemetry.ingest import Ingest
from controlplane.telemetry.unit_tables import Sample, add_units
from controlplane.telemetry.units import MAX_UNITS, News
from tests.support import take

pytestmark = pytest.mark.anyio

KEY = RequestKey("support-reply", "small", "haiku", "")
RULE = rollout_rule("new-model", 1, 0)


@pytest.fixture
def replicas(database: Database) -> list[Ingest]:
    return [Ingest(database, SystemClock()) for _ in range(3)]


def sent(telemetry: Telemetry) -> TelemetryMessage:
    data = telemetry.message(final=True)
    assert data is not None
    return decode(data)


def count(telemetry: Telemetry, times: int) -> None:
    for i in range(times):
        telemetry.count_evaluation(EvaluationKey("web-search", "on", "SPLIT"), 1)
        error: ErrorClass | None = "timeout" if i % 3 == 0 else None
        attempts = (
            Attempted("big", "acme", "big-1", error=error, duration_ms=90.0, usage=(10, 0)),
            Attempted("small", "other", "small-1", "retry", duration_ms=10.0, usage=(10, 5)),
        )
        telemetry.record(
            KEY._replace(drill="spring" if i % 2 else ""),
            Report(
                duration_ms=100.0 * (i + 1), error_class=error, rung="model" if error else None, answered_by="small",
                attempts=attempts if error else attempts[:1], prompt_tokens=10 * i,
            ),
        )  # fmt: skip
        telemetry.track("thumbs-up")


async def totals(database: Database, step_s: int = series.FINE_S) -> RequestTotals:
    """All requests of the environment, over all series and minutes."""
    now = datetime.now(UTC)
    async with database.reading() as connection:
        rows = await tables.rollups_between(
            connection, "production", "request", step_s=step_s, since=now - timedelta(days=1), until=now + timedelta(1)
        )
    total = RequestTotals()
    for row in rows:
        total = total.plus(series.decode_request(row.totals))
    return total


async def evaluations(database: Database) -> dict[EvaluationKey, int]:
    now = datetime.now(UTC)
    total: dict[EvaluationKey, int] = {}
    async with database.reading() as connection:
        rows = await tables.rollups_between(
            connection,
            "production",
            "evaluation",
            step_s=series.COARSE_S,
            since=now - timedelta(1),
            until=now + timedelta(1),
        )
    for row in rows:
        for key, n in series.decode_evaluations(row.totals).items():
            total[key] = total.get(key, 0) + n
    return total


async def test_a_series_without_an_optional_label_keeps_its_name_and_is_read_with_an_empty_one() -> None:
    assert series.name(KEY) == series.SEPARATOR.join(KEY[:4])
    assert series.request_key(series.SEPARATOR.join(KEY[:4])) == KEY
    worded = KEY._replace(prompt="plain@1f0c9a3e")
    assert series.request_key(series.name(worded)) == worded
    assert series.request_key(series.name(KEY._replace(safe_mode=""))) == KEY


@pytest.mark.parametrize("labels", [KEY[:4], (*KEY, "of a newer version")])
def test_requests_of_older_and_newer_instances_keep_their_labels(labels: tuple[str, ...]) -> None:
    telemetry = Telemetry("i-1", "support")
    count(telemetry, 3)
    message = msgspec.msgpack.decode(telemetry.message() or b"")
    message[8] = {labels: next(iter(message[8].values()))}
    found = read_message(msgspec.msgpack.encode(message))
    assert found.requests.keys() == {KEY}
    assert found.dropped == 0


async def test_totals_survive_loss_repetition_and_reordering_over_three_replicas(
    database: Database, replicas: Sequence[Ingest]
) -> None:
    chance = random.Random(5)
    fleet = [Telemetry(f"i-{n}", "support") for n in range(12)]
    late: list[TelemetryMessage] = []
    for _ in range(8):
        for telemetry in fleet:
            count(telemetry, chance.randrange(6))
            message = sent(telemetry)
            fate = chance.random()
            if fate < 0.2:
                late.append(message)
            for _ in range(0 if fate < 0.4 else chance.randint(1, 2)):
                take(chance.choice(replicas), "production", message)
        chance.shuffle(late)
        for message in late[: len(late) // 2]:
            take(chance.choice(replicas), "production", message)
        await chance.choice(replicas).flush()
    for telemetry in fleet:
        take(chance.choice(replicas), "production", sent(telemetry))
    for replica in replicas:
        await replica.flush()

    counted = RequestTotals()
    for telemetry in fleet:
        for totals_ in sent(telemetry).requests.values():
            counted = counted.plus(totals_)
    assert await totals(database) == counted
    assert await totals(database, series.COARSE_S) == counted
    assert await totals(database, series.RECENT_S) == counted
    assert await evaluations(database) == {EvaluationKey("web-search", "on", "SPLIT"): counted.requests}


async def test_a_replica_that_dies_with_messages_in_hand_loses_nothing(
    database: Database, replicas: Sequence[Ingest]
) -> None:
    telemetry = Telemetry("i-1", "support")
    count(telemetry, 3)
    take(replicas[0], "production", sent(telemetry))
    count(telemetry, 4)
    take(replicas[1], "production", sent(telemetry))
    await replicas[1].flush()

    assert (await totals(database)).requests == 7


async def test_an_instance_that_restarts_counts_from_zero_again(database: Database, replicas: Sequence[Ingest]) -> None:
    for start in (1_000.0, 2_000.0):
        telemetry = Telemetry("i-1", "support", now=lambda start=start: start)  # type: ignore[misc]
        count(telemetry, 5)
        take(replicas[0], "production", sent(telemetry))
        await replicas[0].flush()

    assert (await totals(database)).requests == 10


async def test_a_unit_that_turns_bad_on_two_instances_is_one_bad_unit(
    database: Database, replicas: Sequence[Ingest]
) -> None:
    for instance in ("i-1", "i-2"):
        telemetry = Telemetry(instance, "support")
        for unit in ("u-1", "u-2" if instance == "i-1" else "u-3"):
            telemetry.record(KEY, Report(error_class="timeout"), [Exposure(RULE, "big", unit)])
        take(replicas[0], "production", sent(telemetry))
        await replicas[0].flush()

    now = datetime.now(UTC)
    async with database.reading() as connection:
        rows = await tables.rollups_between(
            connection,
            "production",
            "arm",
            step_s=series.FINE_S,
            since=now - timedelta(1),
            until=now + timedelta(1),
            prefix=RULE,
        )
        units = await readings.units(connection, "production", RULE)
    merged = [row for row in rows if series.arm_series(row.series).key == readings.EVERY_KEY]
    assert sum(series.decode_arm(row.totals).bad["error"] for row in merged) == 3
    assert sum(series.decode_arm(row.totals).at_risk["error"] for row in merged) == 3
    assert units.of("big") == 3


async def arms(database: Database) -> dict[str, ArmTotals]:
    """What the fleet has shown of RULE, by variant."""
    now = datetime.now(UTC)
    async with database.reading() as connection:
        minutes = await readings.arms(
            connection, "production", RULE, since=now - timedelta(1), until=now + timedelta(1)
        )
    total: dict[str, ArmTotals] = {}
    for keys in minutes.values():
        for variant, counted in keys[readings.EVERY_KEY].items():
            total[variant] = total.get(variant, ArmTotals()).plus(counted)
    return total


async def test_users_who_wander_between_instances_and_services_count_once(
    database: Database, replicas: Sequence[Ingest]
) -> None:
    """300 users over 40 instances with two keys are 300 units, with one value each, however much is lost or repeated."""
    chance = random.Random(3)
    fleet = [Telemetry(f"i-{n}", "support") for n in range(40)]
    for _ in range(4):
        for user in range(300):
            for telemetry in chance.sample(fleet, 5):
                exposure = Exposure(RULE, "big" if user < 100 else "small", f"u-{user}")
                telemetry.record(KEY, Report(quality=0.5, refused=user % 10 == 0), [exposure])
        for n, telemetry in enumerate(fleet):
            message = sent(telemetry)
            for _ in range(chance.choice([0, 1, 1, 2])):
                take(chance.choice(replicas), "production", message, key=f"key-{n % 2}")
        await asyncio.gather(*(replica.flush() for replica in replicas))
    for n, telemetry in enumerate(fleet):
        take(replicas[0], "production", sent(telemetry), key=f"key-{n % 2}")
    await replicas[0].flush()

    found = await arms(database)
    assert {variant: arm.units for variant, arm in found.items()} == {"big": 100, "small": 200}
    assert {variant: arm.bad["refusal"] for variant, arm in found.items()} == {"big": 10, "small": 20}
    assert {variant: arm.mean_n["quality"] for variant, arm in found.items()} == {"big": 100, "small": 200}
    async with database.reading() as connection:
        units = await readings.units(connection, "production", RULE)
    assert (units.of("big"), units.of("small")) == (100, 200)


async def test_more_units_than_there_is_room_for_are_estimated_and_both_arms_thin_alike(database: Database) -> None:
    """Of 60,000 units one in four is followed: about 15,000, so the estimate's standard error is 0.7 % of all of them and
    2.2 % of the 6,000 in the treatment. Three times that is what a test may be surprised by."""
    found: dict[str, dict[int, News]] = {"big": {}, "small": {}}
    for unit in range(60_000):
        hashed = mmh3.hash64(f"u-{unit}".encode(), signed=True)[1]
        found["big" if unit % 10 == 0 else "small"][hashed] = News(at_risk={"error": 1})
    sample = Sample("production", RULE, readings.EVERY_KEY)
    async with database.transaction() as connection:
        for _ in range(2):
            await add_units(connection, sample, 0, found, datetime.now(UTC))
        units = await readings.units(connection, "production", RULE)

    assert units.level == 2
    assert sum(units.followed.values()) <= MAX_UNITS
    assert units.of("big") == pytest.approx(6_000, rel=3 * 0.022)
    assert units.of("big") + units.of("small") == pytest.approx(60_000, rel=3 * 0.007)


async def test_what_postgres_cannot_take_now_is_folded_later(database: Database, database_url: str) -> None:
    ingest = Ingest(database, SystemClock())
    telemetry = Telemetry("i-1", "support")
    count(telemetry, 5)
    take(ingest, "production", sent(telemetry))
    async with database.transaction() as blocking:
        await blocking.execute(text("SET LOCAL lock_timeout = 0"))
        await blocking.execute(text("LOCK TABLE telemetry_cursor"))
        await ingest.flush()
        assert ingest.folded == 0
    await ingest.flush()

    assert (await totals(database)).requests == 5


async def test_replicas_that_begin_a_day_at_once_share_its_partition(database: Database) -> None:
    async def begin(day: datetime) -> None:
        async with database.transaction() as connection:
            await tables.make_partitions(connection, day)

    for days in range(100, 105):
        day = datetime.now(UTC) + timedelta(days=days)
        await asyncio.gather(*(begin(day) for _ in range(4)))


async def test_old_partitions_are_dropped(database: Database) -> None:
    now = datetime.now(UTC)
    async with database.transaction() as connection:
        for days in (0, 3, 10, 30):
            await tables.make_partitions(connection, now - timedelta(days=days))
        dropped = await tables.drop_older(connection, now, retention_days=14)

    old, oldest = (f"{now - timedelta(days=days):%Y%m%d}" for days in (10, 30))
    assert sorted(dropped) == [f"telemetry_recent_{oldest}", f"telemetry_recent_{old}", f"telemetry_rollup_{oldest}"]


async def test_what_is_too_old_is_deleted_in_batches(database: Database) -> None:
    now = datetime.now(UTC)
    served = [(f"flag-{number}", "on") for number in range(7)]
    async with database.transaction() as connection:
        await tables.put_flag_uses(connection, "production", served, now - timedelta(days=500))
        await tables.put_flag_uses(connection, "staging", served[:2], now)
    deleted = []
    for _ in range(4):
        async with database.transaction() as connection:
            deleted.append(await tables.delete_older(connection, now, retention_days=14, limit=3))
    assert deleted == [3, 3, 1, 0]
    async with database.reading() as connection:
        assert len(await tables.flag_uses(connection, "staging", ["flag-0", "flag-1"])) == 2
