"""Asks for the leases of budget windows, in the background: no request waits for one (ADR 0125)."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from brownout import wire
from brownout._sync.log import first_time, log
from brownout._sync.waiting import happens
from brownout.wire import leases
from brownout.wire.bundle import Signed

if TYPE_CHECKING:
    from brownout._sync.connection import Connection
    from brownout.config import Config
    from brownout.telemetry.windows import Windows

ANSWER_S = 2.0
"""A request without an answer by then counts as lost."""
EVERY_S = 0.5
"""How often a ledger in use is looked at; what is urgent wakes us."""


class Lessee:
    """One connection's. A client whose policies have no windows subscribes to nothing and never wakes."""

    def __init__(self, config: "Config", instance: str, connection: "Connection", windows: "Windows") -> None:
        subjects, key = wire.Subjects(config.environment), config.key.fingerprint if config.key else ""
        self._request_subject = subjects.lease_request(key, instance)
        self._lease_subject = subjects.lease(key, instance)
        self._connection, self._windows = connection, windows
        self._news = asyncio.Event()
        self._sent: dict[int, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if not self._news.is_set():
                with contextlib.suppress(RuntimeError):  # the loop has just closed
                    loop.call_soon_threadsafe(self._news.set)

        self._windows.wake = wake
        try:
            while not self._windows.is_waiting():
                await self._news.wait()
                self._news.clear()
            await self._connection.subscribe(self._lease_subject, self._on_lease)
            while True:
                self._news.clear()
                await self._look(loop.time())
                if self._windows.is_waiting() or self._sent:
                    await happens(self._news, EVERY_S)
                else:
                    await self._news.wait()
        finally:
            self._windows.lost()

    async def _look(self, now: float) -> None:
        """Never raises: whatever goes wrong is tried again."""
        try:
            for number, sent_at in list(self._sent.items()):
                if now - sent_at > ANSWER_S:
                    del self._sent[number]
                    self._windows.unanswered(number)
            if not self._connection.may_lease:
                self._windows.lost()
                return
            number, asks = self._windows.ask()
            if asks:
                self._sent[number] = now
                await self._connection.client.publish(self._request_subject, leases.encode_request(number, asks))
        except Exception as error:  # noqa: BLE001
            if first_time(type(error).__name__, "leases"):
                log.exception("budget windows cannot be asked for")

    def _on_lease(self, message: Signed) -> None:
        try:
            number, grants = leases.decode_answer(message.payload)
        except wire.UNREADABLE:
            return
        self._sent.pop(number, None)
        self._windows.answered(number, grants)
        self._news.set()  # what is still short asks again
