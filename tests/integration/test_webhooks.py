"""Alerts reach a receiver at least once, signed, in order, whatever dies or refuses meanwhile."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from controlplane.access.alerts import GIVE_UP_AFTER_S, Alerts
from controlplane.access.webhook import Webhook
from controlplane.access.webhook_signing import parse_secrets
from controlplane.kit.database import Database
from tests.integration.accessing import open_world

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Heard(NamedTuple):
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.body)["data"])

    def holds(self) -> bool:
        """As a receiver checks it, by the words of the specification."""
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        mine = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
        return f"v1,{base64.b64encode(mine).decode()}" in self.headers["webhook-signature"].split()


class Receiver:
    """Answers as it is told: a list of answers that comes first, then 204."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.answers: list[str] = []
        self.refuse: set[str] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/very-secret"

    @property
    def taken(self) -> list[str]:
        return [heard.data["n"] for heard in self.heard if "n" in heard.data]

    def of(self, event: str) -> list[Heard]:
        return [heard for heard in self.heard if json.loads(heard.body)["type"] == event]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) if "signature" not in line.lower() else _kept(line)
                           for line in head[1:] if line)  # fmt: skip
            heard = Heard(headers, await reader.readexactly(int(headers["content-length"])))
            self.heard.append(heard)
            answer = "503 Broken" if heard.data.get("n") in self.refuse else "204 Taken"
            answer = self.answers.pop(0) if self.answers else answer
            writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        finally:
            writer.close()


def _kept(line: str) -> list[str]:
    name, value = line.split(": ", 1)
    return [name.lower(), value]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made


def alerts_of(database: Database, receiver: Receiver) -> Alerts:
    return Alerts(database, Webhook(receiver.url, parse_secrets(SECRET), timeout_s=5))


async def everything(*replicas: Alerts) -> None:
    """Each replica delivers until nothing is due."""

    async def drain(alerts: Alerts) -> None:
        while await alerts.deliver_one():
            pass

    await asyncio.gather(*(drain(alerts) for alerts in replicas))


async def test_that_postgres_is_away_is_told_without_postgres(database: Database, receiver: Receiver) -> None:
    """The news that matters most cannot be kept first. What the receiver does not take then is kept later."""
    alerts = alerts_of(Database("postgresql://nobody@127.0.0.1:9/none"), receiver)
    await alerts.notify("health_failing", {"n": "1"})
    await asyncio.gather(*alerts._sending)
    assert receiver.taken == ["1"]
    assert all(heard.holds() for heard in receiver.heard)
    receiver.answers = ["503 Broken"]
    await alerts.notify("health_failing", {"n": "2"})
    await asyncio.gather(*alerts._sending)
    alerts._database = database
    await alerts._keep_unkept()
    await everything(alerts)
    assert receiver.taken == ["1", "2", "2"]
    assert receiver.heard[1].id == receiver.heard[2].id, "so that the receiver knows that it is one alert"


async def make_due(database: Database) -> None:
    async with database.writing() as connection:
        await connection.execute(text("UPDATE webhook_delivery SET next_at = now() WHERE outcome IS NULL"))


async def one_value(database: Database, sql: str) -> Any:
    async with database.reading() as connection:
        return (await connection.execute(text(sql))).scalar()


async def test_broken_glass_arrives_signed(database_url: str, receiver: Receiver) -> None:
    from controlplane.settings import Secret

    settings = {"alert_webhook": Secret(receiver.url), "alert_webhook_secret": Secret(SECRET)}
    async with open_world(database_url, **settings) as world:
        ed = await world.person("ed@example.com", {"production": ["editor"]})
        alerts = alerts_of(world.services.database, receiver)
        world.access.break_glass._notify = alerts.notify
        await world.access.break_glass.break_(ed, "production", "the queue is on fire")
        async with asyncio.timeout(30):  # the control plane's own task looks every few seconds
            while not receiver.of("break_glass"):  # noqa: ASYNC110 - the receiver is a list
                await asyncio.sleep(0.05)
    (heard,) = receiver.of("break_glass")  # this world has no NATS, which is told, too
    body = json.loads(heard.body)
    assert heard.holds()
    assert body["type"] == "break_glass"
    assert (heard.data["environment"], heard.data["actor"], heard.data["reason"]) == (
        "production", "ed@example.com", "the queue is on fire",
    )  # fmt: skip


async def test_what_was_rolled_back_is_told_to_nobody(database: Database, receiver: Receiver) -> None:
    alerts = alerts_of(database, receiver)

    async def half_of_it() -> None:
        async with database.transaction() as connection:
            await alerts.notify("lag", {"n": "1"}, connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await half_of_it()
    await everything(alerts)
    assert receiver.heard == []


async def test_order_holds_within_a_kind_and_one_kind_waits_for_no_other(
    database: Database, receiver: Receiver
) -> None:
    alerts = alerts_of(database, receiver)
    receiver.refuse = {"a1"}
    for kind, n in (("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")):
        await alerts.notify(kind, {"n": n})
    await everything(alerts)
    assert receiver.taken == ["a1", "b1"], "the first try of a1 failed; a2 and a3 wait for it"
    receiver.refuse = set()
    await make_due(database)
    await everything(alerts_of(database, receiver))  # another process: what waits survives a restart
    assert receiver.taken == ["a1", "b1", "a1", "a2", "a3"]
    assert receiver.heard[0].id == receiver.heard[2].id, "the receiver can tell that it is the same"
    assert len({heard.id for heard in receiver.heard}) == 4
    assert all(heard.holds() for heard in receiver.heard)


async def test_replicas_deliver_each_alert_once(database: Database, receiver: Receiver) -> None:
    replicas = [alerts_of(database, receiver) for _ in range(4)]
    for n in range(24):
        await replicas[n % 4].notify(f"kind-{n % 6}", {"n": str(n)})
    while await one_value(database, "SELECT count(*) FROM webhook_delivery WHERE outcome IS NULL"):
        await everything(*replicas)
    assert Counter(receiver.taken) == Counter(str(n) for n in range(24))
    for kind in range(6):
        told = [int(n) for n in receiver.taken if int(n) % 6 == kind]
        assert told == sorted(told)


async def test_a_receiver_says_when_to_come_back(database: Database, receiver: Receiver) -> None:
    alerts = alerts_of(database, receiver)
    await alerts.notify("lag", {"n": "1"})
    receiver.answers = ["429 Slow down\r\nRetry-After: 1000"]
    await everything(alerts)
    wait = "SELECT extract(epoch FROM next_at - now()) FROM webhook_delivery"
    assert 900 < await one_value(database, wait) <= 1000
    await make_due(database)
    receiver.answers = ["503 Broken\r\nRetry-After: 99999999"]
    await everything(alerts)
    assert await one_value(database, wait) <= 3600, "nobody can send us away for good"


async def test_redirects_are_not_followed_and_errors_hold_no_address(database: Database, receiver: Receiver) -> None:
    alerts = alerts_of(database, receiver)
    receiver.answers = [f"302 Elsewhere\r\nLocation: {receiver.url}/other", "500 Broken", "204 Taken"]
    await alerts.notify("lag", {"n": "1"})
    with capture_logs() as lines:
        for _ in range(3):
            await make_due(database)
            await alerts.deliver_one()
    assert len(receiver.heard) == 3
    told = [(line["event"], line.get("error")) for line in lines]
    assert told == [("alert_webhook_failing", "status 302"), ("alert_webhook_works_again", None)], "once each"
    assert "very-secret" not in str(lines)


async def test_nobody_there_is_an_error_like_any_other(database: Database, receiver: Receiver) -> None:
    receiver.port = 9
    alerts = alerts_of(database, receiver)
    await alerts.notify("lag", {"n": "1"})
    assert await alerts.deliver_one()
    assert await one_value(database, "SELECT attempts FROM webhook_delivery WHERE outcome IS NULL") == 1


async def test_after_a_day_it_is_given_up_and_the_next_gets_its_turn(database: Database, receiver: Receiver) -> None:
    alerts = alerts_of(database, receiver)
    receiver.refuse = {"1"}
    await alerts.notify("lag", {"n": "1"})
    await alerts.notify("lag", {"n": "2"})
    async with database.writing() as connection:
        old = f"UPDATE webhook_delivery SET created_at = now() - interval '{GIVE_UP_AFTER_S + 1} s' WHERE body LIKE '%\"1\"%'"
        await connection.execute(text(old))
    with capture_logs() as lines:
        await everything(alerts)
    assert receiver.taken == ["1", "2"]
    assert "alert_given_up" in {line["event"] for line in lines}
