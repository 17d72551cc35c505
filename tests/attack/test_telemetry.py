"""A leaked SDK key owns no environment's telemetry: poison stops nobody, floods cost a bounded number of rows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from brownout.telemetry.counters import Telemetry
from brownout.telemetry.requests import Report
from brownout.wire.telemetry import EvaluationKey, RequestKey, TelemetryMessage, decode
from controlplane.embedded.nats import EmbeddedNats
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.telemetry import tables
from controlplane.telemetry.boundary import RefusedError, Speaker, read_message, read_opening, read_presence
from controlplane.telemetry.exported import Exported
from controlplane.telemetry.inbox import BATCH_MESSAGES
from controlplane.telemetry.ingest import Ingest
from controlplane.telemetry.quotas import STARTS_PER_INSTANCE, Quotas
from tests.attack import hostile
from tests.attack.hostile import PRESENCE, TELEMETRY, Hostile
from tests.attack.world import PRODUCTION, ROOT, STAGING, Raw, World, until
from tests.integration.test_telemetry_ingest import KEY, totals
from tests.support import take

pytestmark = pytest.mark.anyio


@pytest.fixture
def nodes(one: list[EmbeddedNats]) -> list[EmbeddedNats]:
    return one


Enter = Callable[..., Awaitable[Raw]]


@pytest.fixture
async def enter(world: World) -> AsyncIterator[Enter]:
    """World.enter, whose clients are closed in the end."""
    async with AsyncExitStack() as stack:

        async def opened(environment: str, name: str, **options: Any) -> Raw:
            raw = await world.enter(environment, name, **options)
            stack.push_async_callback(raw.close)
            return raw

        yield opened


async def honest(enter: Enter, name: str = "honest") -> tuple[Raw, Telemetry]:
    raw = await enter(PRODUCTION, name)
    await raw.listen(raw.subjects.acknowledgement(raw.fingerprint, name))
    return raw, Telemetry(name, "support")


async def hand_over(raw: Raw, telemetry: Telemetry) -> None:
    """Sends what was counted until it is acknowledged."""

    async def acknowledged() -> bool:
        data = telemetry.message(final=True)
        await raw.publish(raw.subjects.telemetry(raw.fingerprint, raw.name), data or b"", reply="x")
        await raw.flush()
        await asyncio.sleep(0.3)
        return bool(raw.heard)

    await until(acknowledged)


async def scalar(world: World | Database, query: str, **parameters: Any) -> Any:
    database = world.services.database if isinstance(world, World) else world
    async with database.reading() as connection:
        return (await connection.execute(text(query), parameters)).scalar_one()


async def test_a_thousand_requests_are_counted_exactly_while_poison_goes_on(world: World, enter: Enter) -> None:
    raw, telemetry = await honest(enter)
    staging = await enter(STAGING, "evil")
    inside = await enter(PRODUCTION, "evil")
    for turn in range(10):
        for evil in (staging, inside):
            for each in TELEMETRY[turn::10]:
                await evil.publish(evil.subjects.telemetry(evil.fingerprint, "evil"), each.data("evil"), reply="y")
            await evil.flush()
        for _ in range(100):
            telemetry.record(KEY, Report(input_tokens=10))
        data = telemetry.message()
        assert data is not None
        await raw.publish(raw.subjects.telemetry(raw.fingerprint, "honest"), data)
        await raw.flush()
        await world.commit(PRODUCTION)
    await hand_over(raw, telemetry)

    async with world.services.database.reading() as connection:
        found = await tables.refused(connection, PRODUCTION, world.services.clock.now())
    assert {each.reason for each in found} >= {"malformed", "instance"}
    assert {each.key for each in found} == {inside.fingerprint}
    assert (await totals(world.services.database)).input_tokens == 10_000, "the evil ones report none"


@pytest.mark.parametrize("each", TELEMETRY, ids=lambda each: each.name)
def test_what_no_sdk_sends_is_refused_with_a_reason_or_tolerated(each: Hostile) -> None:
    data, speaker = each.data("evil"), Speaker("production", "key", "evil")
    if each.refused:
        with pytest.raises(RefusedError) as refused:
            read(data, speaker)
        assert refused.value.reason == each.refused
    else:
        read(data, speaker)


def read(data: bytes, speaker: Speaker) -> TelemetryMessage:
    read_opening(data, speaker)
    return read_message(data)


async def test_what_is_tolerated_is_folded_and_what_does_not_fit_is_called_other(database: Database) -> None:
    ingest = Ingest(database, SystemClock())
    for number, each in enumerate(each for each in TELEMETRY if not each.refused):
        speaker = Speaker("production", "key", f"evil-{number}")
        ingest.take(speaker, each.data(speaker.instance))
    await ingest.flush()

    assert ingest.refusals.total == {}
    assert await scalar(database, "SELECT count(*) FROM telemetry_rollup WHERE starts_with(series, '(other)')") >= 2
    assert await scalar(database, "SELECT count(*) FROM rollout_unit WHERE key = ''") <= 2_010


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary(max_size=2_000))
def test_any_bytes_are_a_message_or_a_refusal(data: bytes) -> None:
    for reads in (read_message, read_presence, lambda data: read_opening(data, Speaker("e", "k", "i"))):
        try:
            reads(data)
        except RefusedError:
            pass


@given(st.lists(_VALUES, max_size=14), st.integers(0, 11), _VALUES)
def test_any_values_are_a_message_or_a_refusal(values: list[Any], place: int, value: Any) -> None:
    whole = msgspec.msgpack.decode(hostile.message("i", requests=hostile.request()), strict=False)
    whole[place] = value
    for fields in (values, whole):
        try:
            read_message(msgspec.msgpack.encode(fields))
        except RefusedError:
            pass
        except (OverflowError, UnicodeEncodeError):
            pass  # of the encoder above: no such bytes exist


async def test_poisoned_presence_hides_nobody(world: World, enter: Enter) -> None:
    evil = [await enter(environment, "evil") for environment in (STAGING, PRODUCTION)]
    raw, _ = await honest(enter, "there")
    for turn, poison in enumerate(PRESENCE.values()):
        for each in evil:
            await each.publish(each.subjects.presence(each.fingerprint, "evil"), poison("evil"))
            await each.flush()
        await raw.publish(raw.subjects.presence(raw.fingerprint, "there"), hostile.presence("there", rev=turn + 1))
        await raw.flush()

    written = "SELECT coalesce(max(revision), 0) FROM fleet_instance WHERE instance = 'there'"

    async def arrived() -> bool:
        return bool(await scalar(world, written) == len(PRESENCE))

    await until(arrived)
    fleet = world.services.telemetry.fleet
    assert {each.instance for each in fleet.instances(ROOT, PRODUCTION) if each.live} >= {"there"}
    refused = await world.services.telemetry.refused(ROOT, PRODUCTION)
    assert refused.items or world.services.telemetry.ingest.refusals.total[PRODUCTION, "malformed"] >= 10


async def test_a_live_name_belongs_to_the_key_that_has_it(world: World, enter: Enter) -> None:
    raw, _ = await honest(enter, "mine")
    await raw.publish(raw.subjects.presence(raw.fingerprint, "mine"), hostile.presence("mine"))
    await raw.flush()
    fleet = world.services.telemetry.fleet
    await until(lambda: "mine" in {each.instance for each in fleet.instances(ROOT, PRODUCTION)})
    second = (await world.services.access.keys.create(ROOT, PRODUCTION, "second")).key
    world.keys["second"] = second
    evil = await enter(PRODUCTION, "mine", uses="second")
    await evil.publish(evil.subjects.presence(evil.fingerprint, "mine"), hostile.presence("mine", closing=True))
    await evil.flush()
    await until(lambda: world.services.telemetry.ingest.refusals.total[PRODUCTION, "instances"])

    assert [each.live for each in fleet.instances(ROOT, PRODUCTION) if each.instance == "mine"] == [True]


QUOTAS = Quotas(instances=20, series=50, evaluations=30, bytes_per_minute=4 * 1024 * 1024)


async def test_a_flood_of_labels_costs_a_bounded_number_of_rows(database: Database) -> None:
    """230 messages with 1,150 labels each: 273,707 rows, once. All of them are within the key's bytes."""
    roomy = msgspec.structs.replace(QUOTAS, bytes_per_minute=16 * 1024 * 1024)
    ingest = Ingest(database, SystemClock(), quotas=roomy)
    for turn in range(23):
        for n in range(10):
            telemetry = Telemetry(f"i-{n}", "flood", now=lambda: 1_000.0)
            telemetry._sequence = turn
            for i in range(190):
                telemetry.record(RequestKey(f"c{turn}-{n}-{i}", "m", "v", ""), Report())
                telemetry.track(f"t{turn}-{n}-{i}")
                telemetry.count_evaluation(EvaluationKey(f"f{turn}-{n}-{i}", "v", "STATIC"), 1)
            data = telemetry.message(final=True)
            assert data is not None
            take(ingest, "production", decode(data))
        await ingest.flush()

    assert await scalar(database, "SELECT count(*) FROM telemetry_series WHERE kind = 'series'") == QUOTAS.series
    assert await scalar(database, "SELECT count(*) FROM flag_use") <= QUOTAS.evaluations
    rows = "SELECT count(DISTINCT series) FROM telemetry_rollup WHERE kind IN ('request', 'custom', 'policy')"
    assert await scalar(database, rows) <= QUOTAS.series + 2
    assert (await totals(database)).requests == 23 * 10 * 190, "nothing of it is lost: it is under (other)"


async def test_restarts_instances_and_bytes_are_counted_and_refused(database: Database) -> None:
    ingest = Ingest(database, SystemClock(), quotas=QUOTAS, monotonic=lambda: 0.0)
    for start in range(100):
        take(ingest, "production", decode(hostile.message("again", start=start, requests=hostile.request())))
    for n in range(100):
        take(ingest, "production", decode(hostile.message(f"i-{n}", start=1, requests=hostile.request())))
    await ingest.flush()
    large = hostile.message("big", service="s" * 900_000)
    for _ in range(4):
        ingest.take(Speaker("production", "large", "big"), large)
    with pytest.raises(RefusedError, match="in a minute"):
        ingest.take(Speaker("production", "large", "big"), large)

    assert await scalar(database, "SELECT count(*) FROM telemetry_cursor") == QUOTAS.instances
    assert (
        await scalar(database, "SELECT count(*) FROM telemetry_cursor WHERE instance = 'again'") <= STARTS_PER_INSTANCE
    )
    assert ingest.refusals.total["production", "restarts"] == 100 - STARTS_PER_INSTANCE
    assert ingest.refusals.total["production", "instances"] == 100 - (QUOTAS.instances - STARTS_PER_INSTANCE)
    take(ingest, "production", decode(hostile.message("other-key", requests=hostile.request())), key="second")
    await ingest.flush()
    assert await scalar(database, "SELECT count(*) FROM telemetry_cursor WHERE key = 'second'") == 1


async def test_totals_that_go_down_are_refused_alone(database: Database) -> None:
    ingest = Ingest(database, SystemClock())
    for sequence, n in ((1, 10), (2, 4)):
        take(
            ingest,
            "production",
            decode(hostile.message("evil", start=1, sequence=sequence, requests=hostile.request(n))),
        )
        take(ingest, "production", decode(hostile.message("good", start=1, sequence=sequence,
                                                          requests=hostile.request(sequence * 5))))  # fmt: skip
        await ingest.flush()

    assert ingest.refusals.total == {("production", "shrinks"): 1}
    assert (await totals(database)).requests == 10 + 10


async def test_what_makes_a_transaction_fail_is_set_aside_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the boundary lets through some day."""
    advance = tables.advance_cursors

    async def picky(connection: Any, environment: str, messages: Any, now: Any) -> None:
        if any(position.instance == "i-13" for position, _, _ in messages):
            raise ValueError("poison")
        await advance(connection, environment, messages, now)

    monkeypatch.setattr(tables, "advance_cursors", picky)
    ingest = Ingest(database, SystemClock())
    for n in range(40):
        take(ingest, "production", decode(hostile.message(f"i-{n}", requests=hostile.request())))
    await ingest.flush()

    assert (await totals(database)).requests == 39
    assert ingest.refusals.total == {("production", "not_stored"): 1}


async def test_one_environments_wait_is_not_the_others(database: Database) -> None:
    ingest = Ingest(database, SystemClock())
    async with database.transaction() as blocking:
        await tables.lock_folding(blocking, "staging")
        take(ingest, "staging", decode(hostile.message("i-1", requests=hostile.request())))
        take(ingest, "production", decode(hostile.message("i-1", requests=hostile.request())))
        flushing = asyncio.ensure_future(ingest.flush())
        counted = "SELECT count(*) FROM telemetry_cursor WHERE environment = 'production'"

        async def folded() -> bool:
            return bool(await scalar(database, counted))

        await until(folded)
        assert not flushing.done()
    await flushing
    assert (await scalar(database, "SELECT count(*) FROM telemetry_cursor")) == 2


async def test_metrics_of_one_environment_leave_room_for_the_others(database: Database) -> None:
    ingest = Ingest(database, SystemClock(), Exported(max_series=10))
    for environment, n in (("staging", 50), ("production", 5)):
        series = {(f"c-{i}", "m", "v", ""): [1] for i in range(n)}
        evaluations = {(f"f-{i}", "v", "STATIC"): 1 for i in range(n)}
        take(ingest, environment, read_message(hostile.message("i", requests=series, evaluations=evaluations)))
    await ingest.flush()

    families = {family.name: family for family in ingest.exported.families(["staging", "production"], {}, {})}
    for name in ("brownout.requests", "feature_flag.evaluations"):
        points = families[name].points
        in_staging = [n for labels, n in points if labels["brownout.environment"] == "staging"]
        assert (len(in_staging), sum(in_staging)) == (11, 50)  # type: ignore[arg-type]
        assert len(points) == 11 + 5


async def test_a_flooded_key_has_one_turn_while_another_has_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = Ingest(database, SystemClock())
    turns: list[str] = []
    fold = ingest._folder.fold

    async def noted(environment: str, key: str, batch: Any) -> None:
        turns.append(key)
        await fold(environment, key, batch)

    monkeypatch.setattr(ingest._folder, "fold", noted)
    for n in range(BATCH_MESSAGES * 3):
        take(ingest, "production", decode(hostile.message(f"i-{n}", requests=hostile.request())), key="flood")
    take(ingest, "production", decode(hostile.message("honest", requests=hostile.request())), key="honest")
    await ingest.flush()

    assert turns == ["flood", "honest", "flood", "flood"]
    assert (await totals(database)).requests == BATCH_MESSAGES * 3 + 1
