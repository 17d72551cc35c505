"""What it costs to know who asks: the same read with a token, with a session, and with the door taken off."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

from litestar import Litestar

from controlplane.access.sessions import Origin
from controlplane.app import create_app
from controlplane.configuration.store.migrate import migrate
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.http.guard import Connection
from controlplane.kit.database import Database
from tests.bench.report import Ratio, Report, ms, percentile
from tests.integration.accessing import PASSWORD, ROOT, open_world

ROUNDS = 600
PATH = "/api/v1/environments/production/safe-mode-profiles/contain"


def run() -> Report:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder) / "postgres") as server:
            return asyncio.run(_measure(server.dsn()))


async def _measure(url: str) -> Report:
    database = Database(url)
    await migrate(database)
    await database.close()
    async with open_world(url) as world:
        token = await world.token({"production": ["viewer"]})
        await world.person("mara@example.com", {"production": ["viewer"]})
        signed_in = await world.access.sign_in.with_password("mara@example.com", PASSWORD, Origin())
        with mock.patch("controlplane.app.guard", _no_guard):
            open_app = create_app(world.services)
        asks: dict[str, Callable[[], Awaitable[int]]] = {
            "open": lambda: _ask(open_app, []),
            "token": lambda: _ask(world.app, [(b"authorization", f"Bearer {token}".encode())]),
            "session": lambda: _ask(world.app, [(b"cookie", f"__Host-brownout-session={signed_in.secret}".encode())]),
        }
        samples: dict[str, list[float]] = {name: [] for name in asks}
        for _ in range(ROUNDS):  # in turns, so that whatever else the machine does hits all alike
            for name, ask in asks.items():
                started = perf_counter()
                assert await ask() == 200
                took = perf_counter() - started
                samples[name].append(took)
                world.clock.move(timedelta(seconds=took))  # what is remembered of a credential ages as it would
    p50 = {name: percentile(found[ROUNDS // 10 :], 0.5) for name, found in samples.items()}
    return Report(
        "Access",
        {f"{name} read p50": ms(value) for name, value in p50.items()},
        (
            Ratio("a read with a token, beside the same without authentication", p50["token"] / p50["open"], 1.3),
            Ratio("a read with a session, beside the same without authentication", p50["session"] / p50["open"], 1.3),
        ),
    )


async def _no_guard(connection: Connection, _handler: object) -> None:
    connection.state["actor"] = ROOT


async def _ask(app: Litestar, headers: list[tuple[bytes, bytes]]) -> int:
    status = 0
    scope: Any = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "https",
        "path": PATH, "raw_path": PATH.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"brownout.example"), *headers], "client": ("198.51.100.7", 4711),
        "server": ("brownout.example", 443), "state": {},
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(scope, receive, send)
    return status
