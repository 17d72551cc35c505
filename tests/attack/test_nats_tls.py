"""Somebody between an SDK, or the control plane, and NATS, who answers in plain text."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import pytest

from brownout import Brownout
from brownout.wire import SdkKey
from controlplane.kit.link import Link
from tests.attack.world import until

pytestmark = pytest.mark.anyio

INFO = (
    b'INFO {"server_id":"x","version":"2.15.0","proto":1,"headers":true,"auth_required":true,"max_payload":1048576}\r\n'
)
KEY = SdkKey.format("bo_sdk_" + "A" * 43, "k1", b"\x01" * 32)


class Between(NamedTuple):
    port: int
    said: list[bytes]
    """What each that came said after the greeting; empty when they went away."""


@pytest.fixture
async def between() -> AsyncIterator[Between]:
    said: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        with contextlib.suppress(OSError):
            said.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    yield Between(server.sockets[0].getsockname()[1], said)
    server.close()


async def test_an_sdk_told_to_encrypt_shows_its_key_to_nobody_who_does_not(between: Between) -> None:
    context = ssl.create_default_context()
    options: list[Callable[[], Brownout]] = [
        lambda: _sdk(f"tls://127.0.0.1:{between.port}", None),
        lambda: _sdk(f"nats://127.0.0.1:{between.port}", context),
    ]
    for start in options:
        between.said.clear()
        client = start()
        await until(lambda: len(between.said) >= 2)
        assert set(between.said) == {b""}
        assert "no TLS" in client.status.last_error
        await asyncio.to_thread(client.close)


def _sdk(url: str, tls: ssl.SSLContext | None) -> Brownout:
    return Brownout.connect(url, key=KEY, environment="production", disk=False, tls=tls)


async def test_the_control_plane_shows_its_password_to_nobody_who_does_not_encrypt(between: Between) -> None:
    url = f"nats://127.0.0.1:{between.port}"
    link = Link([url], user="control", password="secret", tls=ssl.create_default_context())
    running = asyncio.create_task(link.run())
    await until(lambda: len(between.said) >= 2)
    assert set(between.said) == {b""}
    running.cancel()
    await asyncio.wait([running])


async def test_without_tls_asked_for_the_key_is_shown(between: Between) -> None:
    """So that the tests above prove something."""
    client = _sdk(f"nats://127.0.0.1:{between.port}", None)
    await until(lambda: any(b"bo_sdk_" in each for each in between.said))
    await asyncio.to_thread(client.close)
