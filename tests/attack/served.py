"""A control plane that listens on a real socket, and clients that misbehave."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import uvicorn

from controlplane.http.edge.listener import listen
from controlplane.kit.background import background
from controlplane.server import configure
from tests.integration.accessing import World

PATIENCE_S = 30.0
"""How long a test waits for what has to come; nothing depends on how soon it does."""


class Client:
    """One TCP connection that sends what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of the next answer; (0, {}) when the connection ended without one."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                raw = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, {}
        first, *lines = raw.decode().split("\r\n")
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines if line)

    async def answer(self) -> tuple[int, bytes]:
        status, headers = await self.head()
        async with asyncio.timeout(PATIENCE_S):
            return status, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def ended(self) -> bool:
        """Whether the other side ends it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while await self.reader.read(65536):
                    pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.writer.transport.abort()


class Served:
    def __init__(self, world: World, port: int) -> None:
        self.world = world
        self.port = port
        self._clients: list[Client] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def connect(self, *, source: str = "127.0.0.1") -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        self._clients.append(Client(reader, writer))
        return self._clients[-1]

    async def get(self, path: str, *, source: str = "127.0.0.1", token: str = "") -> int:
        client = await self.connect(source=source)
        sent = f"Authorization: Bearer {token}\r\n" if token else ""
        try:
            await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n{sent}Connection: close\r\n\r\n".encode())
            return (await client.head())[0]
        finally:
            client.close()

    async def open_is(self, count: int) -> bool:
        """Whether the number of open connections becomes `count`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while len(self.world.services.gate) != count:  # noqa: ASYNC110 - nobody is told
                    await asyncio.sleep(0.02)
        return len(self.world.services.gate) == count

    def close(self) -> None:
        for client in self._clients:
            client.close()


@contextlib.asynccontextmanager
async def serving(world: World) -> AsyncIterator[Served]:
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(configure(world.services))
        async with background("gate", world.services.gate.run):
            task = asyncio.create_task(server._serve([listener]))
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            served = Served(world, listener.getsockname()[1])
            try:
                yield served
            finally:
                served.close()
                server.should_exit = True
                await task
