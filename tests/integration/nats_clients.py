"""A client of NATS for a test that may be refused."""

import asyncio
from contextlib import suppress
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError


async def connect(server: str, **options: Any) -> Client:
    """As `nats.connect`, which leaves the socket open when the server refuses; here it is closed before the error.

    Raises what `Client.connect` raises: NatsError, OSError, TimeoutError.
    """
    client = Client()
    try:
        await client.connect(server, **options)
    except BaseException:
        with suppress(NatsError, OSError, TimeoutError):
            async with asyncio.timeout(0.5):  # after a failed TLS handshake nats-py closes, then waits without end
                await client.close()
        raise
    return client
