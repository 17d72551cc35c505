"""Our shorter ways through nats-py, beside its own."""

import asyncio
import inspect

import nats
import pytest
from nats.aio.client import Client

from brownout import wire
from brownout._sync.connection import Connection, _Client, _signature
from brownout.config import Config
from brownout.wire.bundle import Signed
from sdk.tests.nats_process import NatsProcess

pytestmark = pytest.mark.anyio
BLOCKS = [
    b"Bo-Sig: k1.c2lnbmF0dXJl==\r\nNats-Sequence: 7\r\nNats-Time-Stamp: 2026-11-22T17:00:00.5Z\r\n\r\n",
    b"Nats-Sequence: 7\r\nBo-Sig:\tk1.c2lnbmF0dXJl== \r\n\r\n",
    b"Name:value\r\nOther:\t spaced \r\n\r\n",
    b"No-Bo-Sig: k1.x\r\nBo-Sigs: k2.y\r\n\r\n",
    b"no colon\r\nEmpty:\r\n\r\n",
    b"Broken: \xff\xfe\r\n\r\n",
    b"",
]


@pytest.mark.parametrize("block", BLOCKS)
def test_headers_are_read_as_nats_py_reads_them(block: bytes) -> None:
    read = Client._parse_header_lines(block)
    assert _Client._parse_header_lines(block) == read
    assert _signature(b"NATS/1.0\r\n" + block) == read.get(wire.SIGNATURE_HEADER, "")


def test_nats_py_still_has_what_is_overridden() -> None:
    for name in ("_process_msg", "_parse_header_lines"):
        ours, theirs = (inspect.signature(getattr(owner, name)) for owner in (_Client, Client))
        assert list(ours.parameters) == list(theirs.parameters)


async def test_messages_are_taken_in_order_signed_or_not_and_one_that_fails_costs_no_other(
    shared_nats: NatsProcess,
) -> None:
    taken: list[Signed] = []
    all_taken = asyncio.Event()

    def take(message: Signed) -> None:
        taken.append(message)
        if len(taken) == 3:
            all_taken.set()
        if message.payload == b"bad":
            raise ValueError("no")

    connection = Connection(Config(urls=(shared_nats.url,), key=None, environment="e"), "i", lambda: None)
    await connection.open(shared_nats.url)
    publisher = await nats.connect(shared_nats.url)
    try:
        await connection.subscribe("taken.in.order", take)
        for _ in range(2):  # nats-py's first ping overtakes a subscription that waits to be sent
            await connection.client.flush()
        await publisher.publish("taken.in.order", b"first", headers={"Other": "x", wire.SIGNATURE_HEADER: "k1.abc"})
        await publisher.publish("taken.in.order", b"bad")
        await publisher.publish("taken.in.order", b"last")
        async with asyncio.timeout(10):
            await all_taken.wait()
        assert taken == [Signed(b"first", "k1.abc"), Signed(b"bad", ""), Signed(b"last", "")]
        assert connection.last_error == "no"
        assert connection.is_open
    finally:
        await publisher.close()
        await connection.close()
