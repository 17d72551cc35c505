"""The HTTP socket."""

import asyncio
import socket

import pytest

from controlplane.embedded.processes import StartError
from controlplane.server import listen

pytestmark = pytest.mark.anyio


async def test_answers_do_not_wait_for_acknowledgements() -> None:
    without_delay: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        without_delay.set_result(bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        writer.close()

    listener = listen("127.0.0.1", 0)
    async with await asyncio.start_server(accepted, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await without_delay
        writer.close()
        await writer.wait_closed()


def test_a_taken_port_is_said_in_a_sentence() -> None:
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        with pytest.raises(StartError, match="is already in use"):
            listen("127.0.0.1", listener.getsockname()[1])
