"""Slow clients, large ones and very many of them: each is refused or ended, and others are served meanwhile."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.http.edge import listener as listeners
from controlplane.http.edge.listener import listen
from tests.attack.served import Client, Served, serving
from tests.integration.accessing import open_world

pytestmark = pytest.mark.anyio

JSON = b"Content-Type: application/json\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: x\r\nX-a: "
STREAM = "/api/v1/environments/production/fleet/events"


@asynccontextmanager
async def served_with(database_url: str, **settings: Any) -> AsyncIterator[Served]:
    async with open_world(database_url, **settings) as world, serving(world) as served:
        yield served


@pytest.fixture
async def quick(database_url: str) -> AsyncIterator[Served]:
    """Its patience is short."""
    async with served_with(
        database_url, http_header_timeout_s=0.4, http_body_timeout_s=0.4, http_min_rate=1_000_000_000
    ) as served:
        yield served


@pytest.fixture
async def served(database_url: str) -> AsyncIterator[Served]:
    async with served_with(database_url) as opened:
        yield opened


def request(path: str, *headers: bytes, method: str = "POST", body: bytes = b"") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode() + b"".join(headers) + b"\r\n" + body


def length(size: int) -> bytes:
    return f"Content-Length: {size}\r\n".encode()


async def test_half_requests_are_ended_and_others_are_served(database_url: str) -> None:
    async with served_with(database_url, http_header_timeout_s=1) as served:
        slow = [await served.connect(source=f"127.0.1.{number % 3 + 1}") for number in range(300)]
        for client in slow:
            await client.send(HALF)
        assert await served.get("/livez") == 200
        answers = [await client.head() for client in slow]
        assert {status for status, _ in answers} == {408}
        assert await served.open_is(0)


async def test_a_header_that_drips_is_ended_too(quick: Served) -> None:
    client = await quick.connect()

    async def drip() -> None:
        while True:
            await client.send(b"X-a: b\r\n")
            await asyncio.sleep(0.05)

    await client.send(HALF + b"\r\n")
    dripping = asyncio.create_task(drip())
    assert await client.ended()
    dripping.cancel()
    await asyncio.wait([dripping])


async def test_a_second_request_has_no_more_time_than_the_first(quick: Served) -> None:
    client = await quick.connect()
    await client.send(request("/livez", method="GET"))
    assert (await client.answer())[0] == 200
    await client.send(HALF)
    assert (await client.head())[0] == 408


async def test_connections_that_say_nothing_are_ended(quick: Served) -> None:
    client = await quick.connect()
    assert await client.ended()
    assert await quick.open_is(0)


@pytest.mark.parametrize("how", [length(4_000), b"Transfer-Encoding: chunked\r\n"])
async def test_slow_bodies_are_ended(quick: Served, how: bytes) -> None:
    slow = [await quick.connect() for _ in range(30)]
    for client in slow:
        await client.send(request("/api/v1/session", JSON, how, body=b'{"email":"' if b"L" in how else b'2\r\n{"\r\n'))
    assert {(await client.head())[0] for client in slow} == {408}
    assert await quick.open_is(0)


async def test_a_body_may_take_longer_when_it_keeps_arriving(database_url: str) -> None:
    """Each byte buys a second here: what is steady is never cut off, however long it takes."""
    async with served_with(database_url, http_body_timeout_s=0.3, http_min_rate=1) as served:
        client, body = await served.connect(), b'{"email":"a@example.com","password":"nothing that fits"}'
        await client.send(request("/api/v1/session", JSON, length(len(body)), body=body[:10]))
        for at in range(10, len(body), 5):
            await asyncio.sleep(0.1)
            await client.send(body[at : at + 5])
        assert (await client.answer())[0] == 401


async def test_event_streams_outlive_every_timeout(quick: Served) -> None:
    token = await quick.world.token({"*": ["viewer"]})
    client = await quick.connect()
    await client.send(request(STREAM, f"Authorization: Bearer {token}\r\n".encode(), method="GET"))
    assert (await client.head())[0] == 200
    await asyncio.sleep(1.5)
    assert await quick.get("/livez") == 200
    assert len(quick.world.services.gate) >= 1
    assert not client.reader.at_eof()


async def test_one_principal_watches_so_many_streams_and_no_more(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.http.streams.MAX_STREAMS", 3)
    token = await served.world.token({"*": ["viewer"]})
    asked = request(STREAM, f"Authorization: Bearer {token}\r\n".encode(), method="GET")
    clients = [await served.connect() for _ in range(4)]
    statuses = []
    for client in clients:
        await client.send(asked)
        statuses.append((await client.head())[0])
    assert statuses == [200, 200, 200, 429]
    for client in clients:
        client.close()
    assert await served.open_is(0)
    async with asyncio.timeout(30):
        while served.world.services.gate.watching:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.02)


async def test_a_stream_that_nobody_reads_is_ended(database_url: str) -> None:
    async with served_with(database_url, http_read_timeout_s=0.5) as served:
        token = await served.world.token({"*": ["viewer"]})
        summaries = served.world.services.telemetry.fleet

        async def flood(*_: object) -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 50_000

        summaries.events = flood  # type: ignore[assignment]
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", served.port))
        await loop.sock_sendall(sock, request(STREAM, f"Authorization: Bearer {token}\r\n".encode(), method="GET"))
        assert await served.open_is(1)
        assert await served.open_is(0)
        sock.close()


async def test_one_address_holds_so_many_connections_and_no_more(database_url: str) -> None:
    async with served_with(database_url, http_connections_per_address=20) as served:
        held = [await served.connect(source="127.0.2.1") for _ in range(20)]
        assert await served.open_is(20)
        assert await served.get("/livez", source="127.0.2.1") == 503
        assert await served.get("/livez", source="127.0.2.2") == 200
        held[0].close()
        assert await served.open_is(19)
        assert await served.get("/livez", source="127.0.2.1") == 200


async def test_when_it_is_full_there_is_room_for_those_who_have_signed_in(database_url: str) -> None:
    async with served_with(database_url, http_connections=40) as served:
        token = await served.world.token({"*": ["viewer"]})
        assert await served.get("/api/v1/environments", source="127.0.3.1", token=token) == 200
        held = [await served.connect(source=f"127.0.4.{number}") for number in range(1, 41)]
        assert await served.open_is(36)
        assert [(await client.head())[0] for client in held[36:]] == [503] * 4
        assert await served.get("/livez", source="127.0.4.99") == 503
        assert await served.get("/livez", source="127.0.3.1") == 200


async def test_a_trusted_proxy_stands_for_many(database_url: str) -> None:
    async with served_with(database_url, http_connections_per_address=5, trusted_proxies="127.0.5.1") as served:
        for _ in range(20):
            await served.connect(source="127.0.5.1")
        assert await served.open_is(20)
        assert await served.get("/livez", source="127.0.5.1") == 200


PUBLIC = ["/api/v1/session", "/api/v1/session/link", "/sign-in", "/welcome", "/welcome/form"]


@pytest.mark.parametrize("path", PUBLIC)
async def test_what_anyone_may_send_is_at_most_8_kb(served: Served, path: str) -> None:
    announced, chunked = await served.connect(), await served.connect()
    await announced.send(request(path, JSON, length(1_400_000)))
    assert (await announced.answer())[0] == 413, "before a byte of it was sent"
    await chunked.send(request(path, FORM if "api" not in path else JSON, b"Transfer-Encoding: chunked\r\n"))
    status = await _endless(chunked)
    assert status == 413
    assert await announced.ended()
    assert await chunked.ended()
    assert await served.open_is(0)


async def test_a_body_is_measured_before_anybody_is_asked_who_they_are(served: Served) -> None:
    path = "/api/v1/environments/production/commits"
    client = await served.connect()
    await client.send(request(path, JSON, length(100_000_000), b"Authorization: Bearer nonsense\r\n"))
    assert (await client.answer())[0] == 413
    stranger = await served.connect()
    await stranger.send(request(path, JSON, length(60_000_000)))
    assert (await stranger.answer())[0] == 401
    assert await stranger.ended(), "nobody waits for the 60 MB"


async def test_compressed_bodies_are_refused(served: Served) -> None:
    client = await served.connect()
    await client.send(request("/api/v1/session", JSON, b"Content-Encoding: gzip\r\n", length(10), body=b"0123456789"))
    assert (await client.answer())[0] == 415


async def test_values_and_fields_are_counted_before_they_are_made(served: Served) -> None:
    token = f"Authorization: Bearer {await served.world.token({'*': ['admin']})}\r\n".encode()
    many = b"{" + b",".join(b'"%d":1' % number for number in range(120_000)) + b"}"
    prose = b'{"flag":"f","unit":"' + b'a, b, [c], {d} \\" , ' * 2_000 + b'","nonsense":1}'
    deep = b"[" * 1_000_000
    fields = b"&".join(b"a%d=" % number for number in range(120_000))
    path = "/api/v1/environments/production/evaluate"
    assert await _post(served, path, token, JSON, body=many) == 413
    assert await _post(served, path, token, JSON, body=deep) == 413
    assert await _post(served, path, token, JSON, body=prose) == 422, "commas in text are text"
    assert await _post(served, "/ofrep/v1/evaluate/flags", token, JSON, body=many) == 413
    assert await _post(served, "/e/production/flags", token, FORM, body=fields) in {403, 405, 413}
    assert await served.get("/sign-in?" + "&".join(f"a{number}=" for number in range(500))) == 414


async def test_a_form_with_too_many_fields_is_refused(served: Served) -> None:
    from controlplane.errors import TooLargeError
    from controlplane.http.forms import MAX_FIELDS, parse_form

    assert parse_form(b"a=1&b=2&a=3") == [("a", "1"), ("b", "2"), ("a", "3")]
    with pytest.raises(TooLargeError):
        parse_form(b"&" * MAX_FIELDS)


async def test_pipelined_requests_are_answered_one_after_the_other_and_counted(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.http.edge.protocol.KEEP_ALIVE_REQUESTS", 10)
    client = await served.connect()
    await client.send(request("/livez", method="GET") * 50)
    heads = []
    while (head := await client.head())[0]:
        await client.reader.readexactly(int(head[1]["content-length"]))
        heads.append(head)
    assert [status for status, _ in heads] == [200] * 10
    assert heads[-1][1]["connection"] == "close"
    assert await client.ended()


async def test_clients_that_leave_in_mid_body_are_no_fault_of_ours(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        client = await served.connect()
        await client.send(request("/api/v1/session", JSON, length(4_000), body=b'{"email":"'))
        await asyncio.sleep(0.05)
        client.close()
    assert await served.open_is(0)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_without_a_descriptor_callers_are_dropped_and_the_next_is_heard(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = socket.socket.accept, 3

    def exhausted(sock: socket.socket) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise OSError(24, "Too many open files")
        return real(sock)

    monkeypatch.setattr(socket.socket, "accept", exhausted)
    dropped = 0
    while left:
        client = await served.connect()
        dropped += await client.ended()
    assert dropped
    assert await served.get("/livez") == 200


def test_the_limit_of_descriptors_is_raised_and_bounds_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    now = (1024, 4096)

    def setrlimit(_what: int, wanted: tuple[int, int]) -> None:
        nonlocal now
        now = wanted

    monkeypatch.setattr(listeners.resource, "getrlimit", lambda _what: now)
    monkeypatch.setattr(listeners.resource, "setrlimit", setrlimit)
    assert listeners.affordable(10_000) == 4096 - listeners.OTHER_DESCRIPTORS
    assert now == (4096, 4096)
    assert listeners.affordable(100) == 100


def test_two_may_not_listen_on_one_port() -> None:
    from controlplane.embedded.processes import StartError

    with listen("127.0.0.1", 0) as first, pytest.raises(StartError):
        listen("127.0.0.1", first.getsockname()[1])


async def _post(served: Served, path: str, *headers: bytes, body: bytes) -> int:
    client = await served.connect()
    await client.send(request(path, *headers, length(len(body)), body=body))
    return (await client.answer())[0]


async def _endless(client: Client) -> int:
    """Sends chunks until there is an answer."""
    answer = asyncio.ensure_future(client.head())
    try:
        while not answer.done():
            await client.send(b"1000\r\n" + b"a" * 4096 + b"\r\n")
            await asyncio.sleep(0)
    except ConnectionError:
        pass
    return (await answer)[0]
