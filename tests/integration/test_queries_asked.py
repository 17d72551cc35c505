"""How many statements a page or a loop sends: the number must not grow with what it shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime

import msgspec
import pytest
from sqlalchemy import event, text

from brownout.wire import Operation
from controlplane.kit.database import Database
from controlplane.safemode.history import SafeModeHistory
from controlplane.telemetry import tables
from tests.integration.accessing import ROOT
from tests.integration.rollout_world import ENVIRONMENT, ME, RESOURCES, ROLLOUT, MovedClock, World, open_store, raw
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """Statements that begin with SELECT, as they are sent, from either pool."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.lstrip().startswith("SELECT"):
            sent.append(statement)

    engines = (database._reader.sync_engine, database.engine.sync_engine)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
async def world(database: Database) -> World:
    clock = MovedClock()
    store = open_store(database, clock, SECRET_KEY)
    await store.create_environment(ENVIRONMENT, "Production")
    return World(database, store, clock)


async def test_the_history_of_safe_mode_asks_the_same_few_for_any_number_of_commits(world: World) -> None:
    await world.begin()
    history, counts = SafeModeHistory(world.store), []
    for number in range(1, 13):
        await world.activate(f"a-{number}")
        if number in {2, 12}:
            with counted(world.database) as sent:
                switched, _ = await history.list(ROOT, ENVIRONMENT)
            assert [switch.key for switch in switched] == [f"a-{each}" for each in range(number, 0, -1)]
            counts.append(len(sent))
    assert counts[0] == counts[1]


async def test_a_look_at_rollouts_reads_what_they_share_once(world: World) -> None:
    await world.begin()
    with counted(world.database) as sent:
        await world.engines[0].tick()
    alone = len(sent)
    others = []
    for number in range(2, 5):
        flag = {**RESOURCES["flag", "support-model"]}
        await world.changes.commit(ME, ENVIRONMENT, [Operation("put", "flag", f"flag-{number}", raw(flag))], "one more")
        spec = msgspec.json.encode({**ROLLOUT, "flag": f"flag-{number}"})
        await world.rollouts.create(ME, ENVIRONMENT, f"other-{number}", spec, "one more")
        await world.rollouts.move(ME, ENVIRONMENT, f"other-{number}", "start", "let us see")
        with counted(world.database) as sent:
            await world.engines[0].tick()
        others.append(len(sent))
    steps = {after - before for before, after in zip([alone, *others], others, strict=False)}
    assert len(steps) == 1, "each more costs the same"
    assert steps.pop() <= 6, "its flag, who depends on that, and four of evidence"


async def test_between_commits_a_look_at_rollouts_reads_their_evidence_only(world: World) -> None:
    await world.begin()
    await world.engines[0].tick()
    with counted(world.database) as sent:
        await world.engines[0].tick()
    assert len(sent) == 1 + 4, "which revision each environment is at, and the evidence of the rollout that runs"
    assert not [statement for statement in sent if "resource" in statement]


async def test_an_environment_that_steers_nothing_costs_a_look_nothing_between_commits(world: World) -> None:
    for number in range(5):
        await world.store.create_environment(f"more-{number}", "More")
    await world.engines[0].tick()
    with counted(world.database) as sent:
        await world.engines[0].tick()
    assert len(sent) == 1


async def test_a_commit_asks_the_rule_once(world: World) -> None:
    flag = raw({**RESOURCES["flag", "support-model"]})
    person = msgspec.structs.replace(ME, kind="person")
    with counted(world.database) as sent:
        await world.changes.commit(person, ENVIRONMENT, [Operation("put", "flag", "another", flag)], "one more")
    assert len([statement for statement in sent if "requires" in statement]) == 1


GROWING = ("rollout_unit", "rollout_sample", "telemetry_series", "fleet_convergence", "telemetry_cursor")
"""With traffic; the others are as large as the fleet or the configuration."""


@pytest.mark.parametrize("table", GROWING)
async def test_retention_finds_old_rows_by_an_index(database: Database, table: str) -> None:
    column, _ = tables._KEPT[table]
    plan = f"EXPLAIN SELECT ctid FROM {table} WHERE {column} < :oldest LIMIT 5000 FOR UPDATE SKIP LOCKED"
    oldest = date(2020, 1, 1) if column == "day" else datetime(2020, 1, 1, tzinfo=UTC)
    async with database.transaction() as connection:
        lines = (await connection.execute(text(plan), {"oldest": oldest})).scalars().all()
    assert any("Index Scan" in line for line in lines), lines
    assert not any("Seq Scan" in line for line in lines)
