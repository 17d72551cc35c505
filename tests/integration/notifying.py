"""Channels on a real database, and a receiver that answers as it is told. Time is virtual: tests move the clock."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from ipaddress import ip_network
from typing import Any, NamedTuple

import msgspec

from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.kit.secret_box import SecretBox
from controlplane.notify.acks import AckLinks
from controlplane.notify.dispatch import Dispatcher
from controlplane.notify.kinds import Severity
from controlplane.notify.queries import channels, routes
from controlplane.notify.reach import Reach
from controlplane.notify.senders.http import Poster
from controlplane.notify.senders.message import Sender
from controlplane.notify.senders.pagerduty import PagerDutySender
from controlplane.notify.senders.slack import SlackSender
from controlplane.notify.senders.teams import TeamsSender
from controlplane.notify.senders.webhook import WebhookSender
from controlplane.notify.values import BUILTIN, TEST_EVERY, Subscription
from tests.integration.accessing import MovableClock
from tests.support import SECRET_KEY

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://brownout.example"
LOCAL = Reach((ip_network("127.0.0.0/8"),))
BOX = SecretBox(SECRET_KEY, "channels")


class Heard(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def data(self) -> dict[str, Any]:
        return dict(self.json.get("data", {}))


class Receiver:
    """Answers as it is told: a list of answers that comes first, then 204. `hang` and `close` answer nothing."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.answers: list[str] = []
        self.always = "204 Taken"
        self.refuse: set[str] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/very-secret"

    @property
    def taken(self) -> list[str]:
        return [heard.data["n"] for heard in self.heard if "n" in heard.data]

    def of(self, event: str) -> list[Heard]:
        return [heard for heard in self.heard if heard.json.get("type") == event]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # a sender that was killed has sent nothing
            await self._answer(reader, writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first, *head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head if line)}
            heard = Heard(first.split()[1], headers, await reader.readexactly(int(headers["content-length"])))
            self.heard.append(heard)
            answer = "503 Broken" if heard.data.get("n") in self.refuse else self.always
            answer = self.answers.pop(0) if self.answers else answer
            if answer == "hang":
                await reader.read()
            elif answer != "close":
                writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Receiver]:
    made = Receiver()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made


class Desk:
    """One database's notifications: channels that lead to receivers, and as many replicas as a test wants."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = MovableClock()

    def replica(self, *, timeout_s: float = 30, builtin: str = "", clock: Clock | None = None) -> Dispatcher:
        poster = Poster(LOCAL, timeout_s)
        senders: dict[str, Sender] = {
            "webhook": WebhookSender(poster),
            "builtin": WebhookSender(Poster(None, timeout_s)),
            "slack": SlackSender(poster),
            "teams": TeamsSender(poster),
            "pagerduty": PagerDutySender(poster),
        }
        return Dispatcher(
            self.database, clock or self.clock, senders, BOX, AckLinks((SECRET_KEY,), URL), url=URL,
            builtin=_config(builtin) if builtin else None, chance=lambda: 0.5,
        )  # fmt: skip

    async def channel(
        self, key: str, receiver: Receiver | None, kind: str = "webhook", config: dict[str, object] | None = None
    ) -> None:
        now = self.clock.now()
        given: dict[str, object] = config if config is not None else {"url": receiver.url if receiver else ""}
        if kind == "webhook":
            given |= {"secret": SECRET}
        sealed = None if key == BUILTIN else BOX.seal(msgspec.json.encode(given), key)
        async with self.database.transaction() as connection:
            await channels.put_channel(
                connection, key, team=None, kind=kind, target="", sealed=sealed, by="test", now=now,
                next_test_at=now + TEST_EVERY,
            )  # fmt: skip

    async def subscribe(
        self,
        key: str,
        *to: str,
        kinds: Sequence[str] = ("*",),
        environments: Sequence[str] = ("*",),
        severity: Severity = Severity.NOTICE,
    ) -> None:
        made = Subscription(key, None, to, tuple(kinds), tuple(environments), severity, "test", self.clock.now())
        async with self.database.transaction() as connection:
            await routes.put_subscription(connection, made)

    async def everything(self, *replicas: Dispatcher) -> None:
        """Each replica delivers until nothing is due."""

        async def drain(one: Dispatcher) -> None:
            while await one.deliver_one():
                pass

        await asyncio.gather(*(drain(one) for one in replicas or (self.replica(),)))

    def move(self, **by: float) -> None:
        self.clock.move(timedelta(**by))

    async def value(self, sql: str) -> Any:
        from sqlalchemy import text

        async with self.database.reading() as connection:
            return (await connection.execute(text(sql))).scalar()

    async def states(self) -> list[tuple[str, str]]:
        """(channel, state) of every delivery, in order."""
        from sqlalchemy import text

        async with self.database.reading() as connection:
            found = await connection.execute(text("SELECT channel, state FROM delivery ORDER BY id"))
            return [(row.channel, row.state) for row in found]


def _config(url: str) -> bytes:
    return msgspec.json.encode({"url": url, "secret": SECRET})
