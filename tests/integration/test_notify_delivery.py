"""Events reach channels at least once, signed, in order, whatever dies or refuses meanwhile."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from controlplane.errors import UnavailableError
from controlplane.kit.database import Database
from controlplane.notify.dispatch import Dispatcher
from controlplane.notify.kinds import Severity
from controlplane.notify.queries import channels
from controlplane.notify.values import BUILTIN, GIVE_UP_AFTER, KEPT
from tests.integration.notifying import SECRET, Desk, Heard, Receiver, listening

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def shared(module_database_url: str) -> AsyncIterator[Database]:
    opened = Database(module_database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def database(shared: Database) -> Database:
    """Without what the tests before have left."""
    async with shared.writing() as connection:
        await connection.execute(text("TRUNCATE team, channel, subscription, event, webhook_delivery CASCADE"))
    return shared


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with listening() as made:
        yield made


@pytest.fixture
async def other() -> AsyncIterator[Receiver]:
    async with listening() as made:
        yield made


@pytest.fixture
async def desk(database: Database, receiver: Receiver) -> Desk:
    """One webhook that is told everything."""
    made = Desk(database)
    await made.channel("ops", receiver)
    await made.subscribe("all", "ops")
    return made


def holds(heard: Heard) -> bool:
    """As a receiver checks it, by the words of the specification."""
    signed = f"{heard.id}.{heard.headers['webhook-timestamp']}.".encode() + heard.body
    mine = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mine).decode()}" in heard.headers["webhook-signature"].split()


def lag(n: object, environment: str = "production") -> tuple[str, dict[str, str]]:
    return "instances_lag", {"environment": environment, "n": str(n)}


def once(receiver: Receiver) -> list[int]:
    """The number of each event in the order in which it first came: any may come twice on a slow machine."""
    return list({heard.id: int(heard.data["n"]) for heard in receiver.heard if "n" in heard.data}.values())


async def until_nothing_is_open(desk: Desk, *replicas: Dispatcher) -> None:
    while await desk.value("SELECT count(*) FROM delivery WHERE ended_at IS NULL"):
        await desk.everything(*replicas)
        desk.move(seconds=10)


async def test_an_event_arrives_signed_with_its_type_and_fields(desk: Desk, receiver: Receiver) -> None:
    one = desk.replica()
    await one.writer.tell("break_glass", {"environment": "production", "actor": "ed", "reason": "fire", "n": "1"})
    await one.writer.tell("recovery_code_used", {"person": "mara"})
    await desk.everything(one)
    first, second = receiver.heard
    assert holds(first)
    assert first.json["type"] == "break_glass"
    assert first.data == {"environment": "production", "actor": "ed", "reason": "fire", "n": "1"}
    assert first.json["timestamp"] == desk.clock.now().isoformat()
    assert first.json["severity"] == "page"
    assert "/ack/" in first.json["ack_link"]
    assert second.json["type"] == "recovery code used", "receivers know it by this name"
    assert await desk.states() == [("ops", "delivered")] * 2


async def test_that_postgres_is_away_is_told_without_postgres(
    desk: Desk, database: Database, receiver: Receiver
) -> None:
    """The news that matters most cannot be kept first. What the receiver does not take then is kept later."""
    one = desk.replica()
    await one.house.keep()
    away = Database("postgresql://nobody@127.0.0.1:9/none")
    one.writer._database = away
    await one.writer.tell("health_failing", {"check": "postgres", "n": "1"})
    receiver.answers = ["204 Taken", "503 Broken"]
    await one.writer.settled()
    await one.writer.tell("health_failing", {"check": "postgres", "n": "2"})
    await one.writer.settled()
    assert receiver.taken == ["1", "2"]
    assert all(map(holds, receiver.heard))
    with pytest.raises(UnavailableError):
        await one.writer.keep_unkept()
    one.writer._database = database
    assert await one.writer.keep_unkept() == ""
    await desk.everything(one)
    assert receiver.taken == ["1", "2", "2"], "what was taken is kept, and not sent again"
    assert receiver.heard[1].id == receiver.heard[2].id, "so that the receiver knows that it is one"
    assert await desk.value("SELECT count(*) FROM event") == 2


async def test_what_the_first_channel_took_without_postgres_goes_to_no_second(
    database: Database, receiver: Receiver, other: Receiver
) -> None:
    desk = Desk(database)
    await desk.channel("pager", receiver)
    await desk.channel("phone", other)
    await desk.subscribe("all", "pager", "phone")
    one = desk.replica()
    await one.house.keep()
    one.writer._database = Database("postgresql://nobody@127.0.0.1:9/none")
    await one.writer.tell("health_failing", {"check": "postgres", "n": "1"})
    await one.writer.settled()
    one.writer._database = database
    assert await one.writer.keep_unkept() == ""
    await desk.everything(one)
    assert (receiver.taken, other.taken) == (["1"], [])
    assert await desk.value("SELECT count(*) FROM event") == 1


async def test_what_was_rolled_back_is_told_to_nobody(desk: Desk, receiver: Receiver) -> None:
    one = desk.replica()

    async def half_of_it() -> None:
        async with desk.database.transaction() as connection:
            await one.writer.tell(*lag(1), connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await half_of_it()
    await desk.everything(one)
    assert receiver.heard == []


async def test_order_holds_for_one_thing_and_no_other_waits_for_it(desk: Desk, receiver: Receiver) -> None:
    one = desk.replica()
    receiver.refuse = {"a1"}
    for environment, n in (("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")):
        await one.writer.tell(*lag(n, environment))
    await desk.everything(one)
    assert receiver.taken == ["a1", "b1"], "the first try of a1 failed; a2 and a3 wait for it"
    receiver.refuse = set()
    desk.move(seconds=10)
    await desk.everything(desk.replica())  # another process: what waits survives a restart
    assert receiver.taken == ["a1", "b1", "a1", "a2", "a3"]
    assert receiver.heard[0].id == receiver.heard[2].id, "the receiver can tell that it is the same"
    assert len({heard.id for heard in receiver.heard}) == 4


async def test_the_webhook_of_the_settings_gets_each_type_in_order(database: Database, receiver: Receiver) -> None:
    desk = Desk(database)
    await desk.channel(BUILTIN, None, "builtin", {})
    await desk.subscribe("all", BUILTIN)
    one = desk.replica(builtin=receiver.url)
    receiver.refuse = {"1"}
    for n, environment in enumerate(("a", "b", "c"), 1):
        await one.writer.tell(*lag(n, environment))
    await desk.everything(one)
    assert receiver.taken == ["1"]
    receiver.refuse = set()
    desk.move(seconds=10)
    await desk.everything(one)
    assert receiver.taken == ["1", "1", "2", "3"]
    assert all(map(holds, receiver.heard))


async def test_a_replica_without_the_webhook_of_the_settings_leaves_it_to_the_others(
    database: Database, receiver: Receiver
) -> None:
    desk = Desk(database)
    await desk.channel(BUILTIN, None, "builtin", {})
    await desk.subscribe("all", BUILTIN)
    without = desk.replica()
    await without.writer.tell(*lag(1))
    await desk.everything(without)
    assert await desk.states() == [(BUILTIN, "pending")]
    await desk.everything(desk.replica(builtin=receiver.url))
    assert receiver.taken == ["1"]
    assert await desk.value("SELECT failures FROM channel") == 0


async def test_replicas_deliver_each_event_once(desk: Desk, receiver: Receiver) -> None:
    replicas = [desk.replica() for _ in range(4)]
    for n in range(24):
        await replicas[n % 4].writer.tell(*lag(n, f"env-{n % 6}"))
    await until_nothing_is_open(desk, *replicas)
    told = once(receiver)
    assert sorted(told) == list(range(24))
    for environment in range(6):
        mine = [n for n in told if n % 6 == environment]
        assert mine == sorted(mine)


async def test_a_receiver_says_when_to_come_back(desk: Desk, receiver: Receiver) -> None:
    one = desk.replica()
    await one.writer.tell(*lag(1, "a"))
    await one.writer.tell(*lag(2, "b"))
    receiver.answers = ["429 Slow down\r\nRetry-After: 1000"]
    await desk.everything(one)
    assert receiver.taken == ["1"], "the whole channel waits, not this event alone"
    desk.move(seconds=999)
    await desk.everything(one)
    assert receiver.taken == ["1"]
    desk.move(seconds=1)
    receiver.answers = ["204 Taken", "503 Broken\r\nRetry-After: 99999999"]
    await desk.everything(one)
    assert sorted(receiver.taken) == ["1", "1", "2"]
    desk.move(hours=1)
    await desk.everything(one)
    assert len(receiver.taken) == 4, "nobody can send us away for good"


@pytest.mark.parametrize("answer", ["302 Elsewhere\r\nLocation: http://127.0.0.1:9/", "500 Broken", "close", "hang"])
async def test_any_other_answer_is_a_failure_that_names_no_address(desk: Desk, receiver: Receiver, answer: str) -> None:
    one = desk.replica(timeout_s=0.3 if answer == "hang" else 30)
    receiver.answers = [answer]
    await one.writer.tell(*lag(1))
    with capture_logs() as lines:
        await desk.everything(one)
    assert await desk.states() == [("ops", "waiting")]
    error = await desk.value("SELECT error FROM delivery")
    assert error
    assert "very-secret" not in str(lines) + error
    assert str(receiver.port) not in error
    desk.move(seconds=5)
    receiver.answers = []
    await desk.everything(desk.replica())
    assert await desk.states() == [("ops", "delivered")]
    assert len({heard.id for heard in receiver.heard}) == 1


async def test_three_days_of_retries_and_then_the_next_gets_its_turn(desk: Desk, receiver: Receiver) -> None:
    one = desk.replica()
    receiver.refuse = {"1"}
    await one.writer.tell(*lag(1))
    await one.writer.tell(*lag(2))
    left = GIVE_UP_AFTER
    while left > timedelta(0):
        await desk.everything(one)
        assert await desk.value("SELECT state FROM delivery ORDER BY id LIMIT 1") == "waiting"
        desk.move(hours=4)
        left -= timedelta(hours=4)
    desk.move(seconds=1)
    with capture_logs() as lines:
        await desk.everything(one)
    assert (await desk.states())[:2] == [("ops", "failed"), ("ops", "delivered")]
    assert receiver.taken[-1] == "2"
    assert "delivery_failed" in {line["event"] for line in lines}


async def test_an_outage_of_72_hours_replays_in_order(desk: Desk, receiver: Receiver) -> None:
    """Events of four courses every hour; the receiver is away for three days less an hour, then gets all of them."""
    one = desk.replica()
    receiver.always, told = "503 Broken", 0
    for _ in range(71):
        for course in range(4):
            await one.writer.tell(*lag(told, f"env-{course}"))
            told += 1
        await desk.everything(one)
        desk.move(hours=1)
    tried = len(receiver.heard)
    assert tried < 400, "a channel that is away is tried now and then, not with everything that waits"
    receiver.always = "204 Taken"
    receiver.heard.clear()
    desk.move(minutes=15)
    await until_nothing_is_open(desk, one, desk.replica())
    heard = once(receiver)
    assert sorted(heard) == list(range(told))
    for course in range(4):
        mine = [n for n in heard if n % 4 == course]
        assert mine == sorted(mine)


async def test_one_event_that_is_poison_silences_no_other(desk: Desk, receiver: Receiver) -> None:
    one = desk.replica()
    receiver.refuse = {"0"}
    await one.writer.tell(*lag(0, "poison"))
    for n in range(1, 12):
        desk.move(minutes=11)
        await one.writer.tell(*lag(n, "honest"))
        await desk.everything(one)
        assert str(n) in receiver.taken
    assert await desk.value("SELECT announced_at FROM channel") is None, "the channel itself works"


async def test_a_page_goes_to_the_next_channel_after_a_minute_and_to_no_third(
    database: Database, receiver: Receiver, other: Receiver
) -> None:
    desk = Desk(database)
    for key, to in (("pager", receiver), ("phone", other), ("last", other)):
        await desk.channel(key, to)
    await desk.subscribe("pages", "pager", "phone", "last")
    one, receiver.always = desk.replica(), "503 Broken"
    await one.writer.tell("break_glass", {"environment": "production", "n": "1"})
    await one.writer.tell(*lag(2))  # no page: it waits for its channel
    for seconds in (0, 3, 20, 36):
        desk.move(seconds=seconds)
        await desk.everything(one)
        await one.house.keep()
    assert other.of("break_glass") == []
    desk.move(seconds=1)
    await asyncio.gather(one.house.keep(), desk.replica().house.keep())
    await desk.everything(one)
    assert [heard.data["n"] for heard in other.of("break_glass")] == ["1"]
    told = [state for channel, state in await desk.states() if channel == "phone"]
    assert told == ["delivered", "delivered"], "the page, and that the pager fails"
    assert "last" not in {channel for channel, _ in await desk.states()}
    assert receiver.of("break_glass")[0].id == other.of("break_glass")[0].id


async def test_a_page_that_its_channel_can_never_take_goes_on_at_once(
    database: Database, receiver: Receiver, other: Receiver
) -> None:
    desk = Desk(database)
    await desk.channel("pager", receiver)
    await desk.channel("phone", other)
    await desk.subscribe("pages", "pager", "phone")
    one, receiver.always = desk.replica(), "410 Gone"
    await one.writer.tell("break_glass", {"environment": "production", "n": "1"})
    await desk.everything(one)
    assert other.of("break_glass")


@pytest.mark.parametrize("hindrance", ["has it", "paused", "deleted", "of another subscription"])
async def test_a_page_is_passed_on_only_to_a_channel_that_takes_it(
    database: Database, receiver: Receiver, other: Receiver, hindrance: str
) -> None:
    """`second` cannot take it, so `third` gets it; without a third, the first keeps it."""
    desk = Desk(database)
    for key, to in (("first", receiver), ("second", receiver), ("third", other)):
        await desk.channel(key, to)
    await desk.subscribe("short", "first", "second", kinds=["safe_mode"])
    await desk.subscribe("long", "first", "second", "third", kinds=["approval"])
    if hindrance == "has it":
        await desk.subscribe("own", "second")
    if hindrance == "of another subscription":
        await desk.subscribe("other", "first", "third", kinds=["safe_mode"])
    one, receiver.always = desk.replica(), "503 Broken"
    await one.writer.tell("break_glass", {"environment": "production", "n": "1"})
    await one.writer.tell("safe_mode_on", {"environment": "production", "activation": "a", "n": "2"})
    async with database.writing() as connection:
        if hindrance == "deleted":
            await channels.delete_channel(connection, "second")
        elif hindrance != "has it":
            await channels.pause(connection, "second", "mara", desk.clock.now())
    desk.move(seconds=61)
    await one.house.keep()
    await desk.everything(one)
    both = hindrance == "of another subscription"
    assert sorted(other.taken) == (["1", "2"] if both else ["1"])
    kept = await desk.value("SELECT count(*) FROM delivery WHERE channel = 'first' AND ended_at IS NULL")
    assert kept == (0 if both else 1), "the channel goes on trying"


@pytest.fixture
async def refusing(database: Database, receiver: Receiver, other: Receiver) -> Desk:
    """PagerDuty refuses everything with 400, as it does for a wrong routing key; `mail` is there, too."""
    desk = Desk(database)
    url = receiver.url.rpartition("/hook")[0]
    await desk.channel("pager", None, "pagerduty", {"routing_key": "r" * 32, "url": url})
    await desk.channel("mail", other)
    receiver.always = "400 Invalid routing key"
    return desk


async def test_a_channel_that_refuses_everything_is_announced(refusing: Desk, other: Receiver) -> None:
    await refusing.subscribe("all", "pager")
    one = refusing.replica()
    for n in range(3):
        await one.writer.tell(*lag(n))
        await refusing.everything(one)
    (told,) = other.of("channel_failing")
    assert told.data == {"channel": "pager", "reason": "status 400"}
    await one.writer.tell("break_glass", {"environment": "production", "n": "1"})
    await refusing.everything(one)
    assert (await refusing.states())[-1] == ("pager", "waiting"), "a page that no other channel can take is kept"


async def test_a_refused_page_goes_on_and_a_refused_test_is_announced(refusing: Desk, other: Receiver) -> None:
    await refusing.subscribe("pages", "pager", "mail", severity=Severity.PAGE)
    one = refusing.replica()
    await one.writer.tell("break_glass", {"environment": "production", "n": "1"})
    await refusing.everything(one)
    assert await refusing.states() == [("pager", "failed"), ("mail", "delivered")]
    refusing.move(days=7)
    await one.house.keep()
    await refusing.everything(one)
    assert len(other.of("channel_failing")) == 1


async def test_a_failing_channel_is_announced_on_another_once_and_so_is_its_end(
    database: Database, receiver: Receiver, other: Receiver
) -> None:
    """No one subscribes to it elsewhere: it is told all the same."""
    desk = Desk(database)
    await desk.channel("ops", receiver)
    await desk.channel("mail", other)
    await desk.subscribe("all", "ops")
    replicas, receiver.always = [desk.replica(), desk.replica()], "503 Broken"
    for n in range(8):
        await replicas[0].writer.tell(*lag(n, f"env-{n}"))
    for _ in range(4):
        await desk.everything(*replicas)
        desk.move(minutes=11)
    (told,) = other.of("channel_failing")
    assert told.data == {"channel": "ops", "reason": "status 503"}
    async with database.reading() as connection:
        assert [each.key for each in await channels.failing(connection)] == ["ops"]
    receiver.always = "204 Taken"
    desk.move(minutes=11)
    await desk.everything(*replicas)
    assert receiver.of("channel_works_again")
    async with database.reading() as connection:
        assert list(await channels.failing(connection)) == []


async def test_a_failing_channel_that_is_changed_is_announced_when_it_works(
    database: Database, receiver: Receiver, other: Receiver
) -> None:
    desk = Desk(database)
    await desk.channel("ops", receiver)
    await desk.channel("mail", other)
    await desk.subscribe("all", "ops")
    await desk.subscribe("channels", "mail", kinds=["notification"])
    one, receiver.always = desk.replica(), "410 Gone"
    await one.writer.tell(*lag(1))
    await desk.everything(one)
    assert len(other.of("channel_failing")) == 1
    receiver.always = "204 Taken"
    await desk.channel("ops", receiver)
    async with database.reading() as connection:
        assert [(each.key, each.last_error) for each in await channels.failing(connection)] == [("ops", "status 410")]
    desk.move(minutes=10)
    await desk.everything(one)
    assert len(other.of("channel_works_again")) == 1
    async with database.reading() as connection:
        assert not await channels.failing(connection)


async def test_a_replay_goes_to_no_further_channel(database: Database, receiver: Receiver, other: Receiver) -> None:
    desk = Desk(database)
    await desk.channel("pager", receiver)
    await desk.channel("phone", other)
    await desk.subscribe("pages", "pager", "phone", severity=Severity.PAGE, kinds=["break_glass"])
    one = desk.replica()
    await one.writer.tell("break_glass", {"environment": "production", "n": "1"})
    await desk.everything(one)
    receiver.always = "503 Broken"
    async with database.transaction() as connection:
        assert await channels.replay(connection, "pager", desk.clock.now() - KEPT, desk.clock.now()) == 1
    await desk.everything(one)
    desk.move(minutes=2)
    await one.house.keep()
    await desk.everything(one)
    assert (len(receiver.taken) > 1, other.taken) == (True, [])


async def test_the_weekly_test_is_sent_once_whatever_the_number_of_replicas(desk: Desk, receiver: Receiver) -> None:
    replicas = [desk.replica() for _ in range(3)]
    for _ in range(2):
        desk.move(days=7)
        await asyncio.gather(*(one.house.keep() for one in replicas))
        await desk.everything(*replicas)
    assert len(receiver.of("channel_test")) == 2


async def test_a_paused_channel_keeps_seven_days(desk: Desk, receiver: Receiver) -> None:
    one = desk.replica()
    async with desk.database.writing() as connection:
        await channels.pause(connection, "ops", "mara", desk.clock.now())
    await one.writer.tell(*lag(1))
    desk.move(days=4)
    await one.writer.tell(*lag(2))
    await desk.everything(one)
    assert receiver.heard == []
    desk.move(days=3, seconds=1)
    await one.house.keep()
    assert await desk.states() == [("ops", "skipped"), ("ops", "pending")]
    async with desk.database.writing() as connection:
        await channels.resume(connection, "ops", desk.clock.now())
    await desk.everything(one)
    assert receiver.taken == ["2"]
    async with desk.database.writing() as connection:
        assert await channels.replay(connection, "ops", desk.clock.now() - KEPT, desk.clock.now()) == 1
    await desk.everything(one)
    assert receiver.taken == ["2", "2"]
    assert receiver.heard[0].id == receiver.heard[1].id


async def test_what_waited_for_a_resumed_channel_is_tried_like_anything_new(desk: Desk, receiver: Receiver) -> None:
    one, receiver.always = desk.replica(), "503 Broken"
    await one.writer.tell(*lag(1))
    await desk.everything(one)
    async with desk.database.writing() as connection:
        await channels.pause(connection, "ops", "mara", desk.clock.now())
    desk.move(days=4)
    async with desk.database.writing() as connection:
        await channels.resume(connection, "ops", desk.clock.now())
    await desk.everything(one)
    assert await desk.states() == [("ops", "waiting")], "the three days begin anew"
    receiver.always = "204 Taken"
    desk.move(minutes=10)
    await desk.everything(one)
    assert receiver.taken == ["1", "1", "1"]


async def test_what_a_replica_of_an_earlier_version_left_is_delivered(database: Database, receiver: Receiver) -> None:
    desk = Desk(database)
    await desk.channel(BUILTIN, None, "builtin", {})
    body = '{"type":"break_glass","timestamp":"2026-11-27T03:12:09+00:00","data":{"environment":"production","n":"1"}}'
    async with database.writing() as connection:
        for number, text_ in enumerate((body, "noise")):
            await connection.execute(
                text("INSERT INTO webhook_delivery (message_id, kind, body) VALUES (:id, 'break_glass', :body)"),
                {"id": f"msg_old{number}", "body": text_},
            )
    replicas = [desk.replica(builtin=receiver.url) for _ in range(2)]
    await asyncio.gather(*(one.house.keep() for one in replicas))
    await desk.everything(*replicas)
    assert [heard.id for heard in receiver.of("break_glass")] == ["msg_old0", "msg_old1"]
    assert receiver.taken == ["1"]
    assert await desk.value("SELECT count(*) FROM webhook_delivery") == 0


async def test_old_events_are_deleted_unless_something_still_waits(desk: Desk, receiver: Receiver) -> None:
    one = desk.replica()
    await one.writer.tell(*lag(1, "a"))
    await desk.everything(one)
    async with desk.database.writing() as connection:
        await channels.pause(connection, "ops", "mara", desk.clock.now())
    await one.writer.tell(*lag(2, "b"))
    desk.move(days=31)
    async with desk.database.writing() as connection:
        await channels.resume(connection, "ops", desk.clock.now())
    await one.house.keep()
    assert await desk.value("SELECT data FROM event WHERE kind = 'instances_lag'") == '{"environment":"b","n":"2"}'


async def test_what_another_version_wrote_stops_nothing(desk: Desk, receiver: Receiver) -> None:
    """A kind of channel and a kind of event that this version does not know, and data that it cannot read."""
    one = desk.replica()
    await desk.channel("future", None, "carrier-pigeon", {})
    await desk.subscribe("both", "future")
    await one.writer.tell("pigeon_returned", {"environment": "production", "n": "1"})
    async with desk.database.writing() as connection:
        await connection.execute(text("UPDATE event SET data = '[1, 2', severity = 99"))
    await one.writer.tell(*lag(2))
    await desk.everything(one)
    assert [heard.json["type"] for heard in receiver.heard] == ["pigeon_returned", "instances_lag"]
    assert receiver.taken == ["2"]
    untouched = "SELECT count(*) FROM delivery WHERE channel = 'future' AND state = 'pending' AND attempts = 0"
    assert await desk.value(untouched) == 2, "another replica may know it"
    desk.move(days=7, seconds=1)
    await one.house.keep()
    assert ("future", "skipped") in await desk.states(), "but not for ever"


async def test_a_secret_that_no_key_opens_fails_its_channel_alone(desk: Desk, receiver: Receiver) -> None:
    await desk.channel("lost", receiver)
    await desk.subscribe("lost", "lost")
    async with desk.database.writing() as connection:
        await connection.execute(text("UPDATE channel SET sealed = 'noise' WHERE key = 'lost'"))
    one = desk.replica()
    await one.writer.tell(*lag(1))
    await desk.everything(one)
    assert receiver.taken == ["1"]
    assert dict(await desk.states()) == {"ops": "delivered", "lost": "waiting"}
