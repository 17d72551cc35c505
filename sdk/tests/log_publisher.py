"""Publishes a History to a real NATS, from a thread of its own, the way the control plane does."""

import asyncio
import queue
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
from nats.aio.client import Client

from brownout import wire
from brownout.wire.bundle import Signed
from sdk.tests.history import History

_T = TypeVar("_T")


class LogPublisher:
    """`history.revision` and the stream's last sequence move together. `creates`: it makes and fills the streams."""

    def __init__(
        self, url: str, history: History, *, heartbeat_s: float = 0.2, creates: bool = True, beating: bool = True
    ) -> None:
        self.history = history
        self.beating = beating
        self._creates = creates
        self._url = url
        self._subjects = wire.Subjects(history.environment)
        self._heartbeat_s = heartbeat_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="log-publisher", daemon=True)
        self._client = Client()
        self.presence: list[wire.Presence] = []
        self.telemetry: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def __enter__(self) -> "LogPublisher":
        self._thread.start()
        self._wait(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reopen(self) -> None:
        """Connects again after NATS was restarted; refills what NATS lost."""
        self._wait(self._close())
        self._client = Client()
        self._wait(self._open())

    def set_flag(self, key: str, *, on: bool) -> None:
        self.log(self.history.set_flag(key, on=on))

    def commit(self, *operations: wire.Operation) -> None:
        self.log(self.history.commit(*operations))

    def log(self, message: Signed) -> None:
        self._wait(self._log(message))

    def say(self, message: Signed, subject: str | None = None) -> None:
        """Sends any bytes past the log, as an intruder could."""
        self._wait(self._say(message, subject or self._subjects.log))

    def snapshot(self) -> None:
        self._wait(self._snapshot())

    def publish_keys(self, keys: bytes) -> None:
        self._wait(self._client.jetstream().publish(self._subjects.keys, keys))

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _open(self) -> None:
        await self._client.connect(self._url, allow_reconnect=False, max_reconnect_attempts=1)
        await self._client.subscribe(self._subjects.presence_all, cb=self._on_presence)
        await self._client.subscribe(f"bot.{self.history.environment}.*.*.m", cb=self._on_telemetry)
        if self._creates:
            await self._make_streams()
        self._task = asyncio.create_task(self._beat())

    async def _make_streams(self) -> None:
        first = self.history.revision + 1 if not self.history.log else 1
        created = await self._create(
            self._subjects.log_stream,
            subjects=[self._subjects.log_write],
            first_seq=first,
            allow_direct=True,
            republish={"src": self._subjects.log_write, "dest": self._subjects.log},
        )
        await self._create(
            self._subjects.snapshot_stream,
            subjects=[self._subjects.snapshot_all],
            allow_direct=True,
            max_msgs_per_subject=1,
        )
        if created:
            for message in self.history.log:
                await self._log(message)
            await self._snapshot()

    async def _create(self, name: str, **config: object) -> bool:
        body = msgspec.json.encode({"name": name, "storage": "file", **config})
        answer = await self._client.request(f"$JS.API.STREAM.CREATE.{name}", body, timeout=5)
        return bool(msgspec.json.decode(answer.data).get("did_create"))

    async def _close(self) -> None:
        self._task.cancel()
        await self._client.close()

    async def _log(self, message: Signed) -> None:
        await self._client.jetstream().publish(
            self._subjects.log_write, message.payload, headers={wire.SIGNATURE_HEADER: message.signature}
        )

    async def _say(self, message: Signed, subject: str) -> None:
        headers = {wire.SIGNATURE_HEADER: message.signature} if message.signature else None
        await self._client.publish(subject, message.payload, headers=headers)
        await self._client.flush()

    async def _snapshot(self) -> None:
        _, chunks = self.history.snapshot()
        sid = f"{self.history.epoch}-{self.history.revision}"
        sequence = 0
        for index, chunk in enumerate(chunks):
            ack = await self._client.jetstream().publish(self._subjects.chunk(sid, index), chunk)
            sequence = sequence or ack.seq
        manifest, _ = self.history.snapshot(sequence=sequence)
        await self._client.jetstream().publish(
            self._subjects.manifest, manifest.payload, headers={wire.SIGNATURE_HEADER: manifest.signature}
        )

    async def _beat(self) -> None:
        while True:
            if self.beating and self._client.is_connected:
                beat = self.history.heartbeat(interval_s=self._heartbeat_s)
                await self._say(beat, self._subjects.heartbeat)
            await asyncio.sleep(self._heartbeat_s)

    async def _on_presence(self, msg: Any) -> None:
        self.presence.append(msgspec.json.decode(msg.data, type=wire.Presence))

    async def _on_telemetry(self, msg: Any) -> None:
        self.telemetry.put(msg.data)
