"""When flags were last served is kept exactly, at one write a variant and quarter of an hour."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from brownout.telemetry.counters import Telemetry
from brownout.wire.telemetry import EvaluationKey, decode
from controlplane.access.actor import system_actor
from controlplane.kit.database import Database
from controlplane.telemetry import tables
from controlplane.telemetry.flag_use import FlagsServed, FlagUses, Served
from controlplane.telemetry.ingest import Ingest
from tests.support import take

pytestmark = pytest.mark.anyio

QUARTER = timedelta(minutes=15)


class Hands:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry("i-1", "support")


async def fold(ingest: Ingest, telemetry: Telemetry, *served: tuple[str, str]) -> None:
    for flag, variant in served:
        telemetry.count_evaluation(EvaluationKey(flag, variant, "STATIC"), 1)
    message = telemetry.message(final=True)
    assert message is not None
    take(ingest, "production", decode(message))
    await ingest.flush()


async def served(database: Database, clock: Hands, *flags: str) -> FlagsServed:
    return await FlagUses(database, clock).served(system_actor("test"), "production", flags)


async def test_each_variant_has_its_first_and_last_quarter(
    database: Database, clock: Hands, telemetry: Telemetry
) -> None:
    noon, replicas = clock.at, [Ingest(database, clock), Ingest(database, clock)]
    await fold(replicas[0], telemetry, ("web-search", "on"), ("greeting", "warm"), ("gone", ""))
    clock.at += QUARTER + timedelta(minutes=3)
    await fold(replicas[1], telemetry, ("web-search", "on"), ("web-search", "off"))
    await fold(replicas[0], telemetry, ("web-search", "on"))
    found = await served(database, clock, "web-search", "gone", "never")
    assert found.counted_since == noon
    assert found.flags == {
        "web-search": (Served("off", noon + QUARTER, noon + QUARTER), Served("on", noon, noon + QUARTER))
    }
    assert found.last_at("web-search") == noon + QUARTER
    assert found.last_at("gone") is None


async def test_a_variant_is_written_once_in_its_quarter(database: Database, clock: Hands, telemetry: Telemetry) -> None:
    ingest = Ingest(database, clock)

    async def versions() -> set[str]:
        async with database.reading() as connection:
            return {row.xmin for row in await connection.execute(text("SELECT xmin::text AS xmin FROM flag_use"))}

    await fold(ingest, telemetry, ("web-search", "on"))
    first = await versions()
    clock.at += timedelta(minutes=14)
    await fold(ingest, telemetry, ("web-search", "on"))
    await fold(Ingest(database, clock), telemetry, ("web-search", "on"))
    assert await versions() == first
    clock.at += timedelta(minutes=1)
    await fold(ingest, telemetry, ("web-search", "on"))
    assert await versions() != first


async def test_what_nobody_asked_about_for_a_year_is_forgotten(
    database: Database, clock: Hands, telemetry: Telemetry
) -> None:
    await fold(Ingest(database, clock), telemetry, ("web-search", "on"))
    async with database.transaction() as connection:
        await tables.delete_older(connection, clock.at + timedelta(days=399), 10_000, 100)
    assert (await served(database, clock, "web-search")).flags
    async with database.transaction() as connection:
        await tables.delete_older(connection, clock.at + timedelta(days=402), 10_000, 100)
    assert (await served(database, clock, "web-search")).flags == {}
