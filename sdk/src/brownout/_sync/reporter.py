"""What an instance tells the control plane: that it lives, at which revision, and what it counted."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from brownout import wire
from brownout._sync.chance import spread
from brownout._sync.log import first_time, log
from brownout._sync.outside import MAX_REPORTED
from brownout._sync.waiting import happens
from brownout.model.levels import LEVEL
from brownout.wire.bundle import Signed

if TYPE_CHECKING:
    from brownout._sync.connection import Connection
    from brownout._sync.progress import Progress
    from brownout._sync.replica import Replica
    from brownout.config import Config

Collect = Callable[[bool], bytes | None]
"""Answers the telemetry to send now, if any; the argument says whether it is the last time."""

_EVERY_S = 10.0
_SPREAD_S = 0.25
"""Nobody reports while the news itself still travels: a thousand reports would delay it for those that wait for it."""
_COLLECT_S = 2.0
"""How often `collect` is asked: it has something to send when it is due, or when calls to models go wrong."""
_HAND_OVER_S = 1.0
_MAX_PROOF_BYTES = 32 * 1024
"""An SDK key may send 64 KiB at a time, and JSON makes bytes a third longer."""


class Reporter:
    """Reports soon after something changed, and every ten seconds; never all instances of a fleet at once."""

    def __init__(
        self, config: "Config", instance: str, connection: "Connection", replica: "Replica", progress: "Progress"
    ) -> None:
        self.ahead = False
        """Whether a heartbeat showed an older head than is held, so that a report must prove it."""
        self._config = config
        self._instance = instance
        self._connection = connection
        self._replica = replica
        self._progress = progress
        subjects, key = wire.Subjects(config.environment), config.key.fingerprint if config.key else ""
        self._presence_subject = subjects.presence(key, instance)
        self._telemetry_subject = subjects.telemetry(key, instance)
        self._acknowledgement_subject = subjects.acknowledgement(key, instance)
        self._told: tuple[wire.Outside, ...] = ()
        self._news = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """There is something new to tell, in a moment: waking up now would already delay the news elsewhere."""
        if self._alarm is None:
            spread_s = _SPREAD_S * (1 + spread.random())
            self._alarm = asyncio.get_running_loop().call_later(spread_s, self._news.set)

    async def run(self, collect: Collect) -> None:
        while True:
            if presence := _made("presence", lambda: self._presence(closing=False)):
                await self._publish(self._presence_subject, presence)
            left_s = _EVERY_S * spread.uniform(0.8, 1.2)
            while left_s > 0 and not self._news.is_set() and self._told == self._replica.outside.applied:
                if telemetry := _made("telemetry", lambda: collect(False)):
                    await self._publish(self._telemetry_subject, telemetry)
                await happens(self._news, min(left_s, _COLLECT_S))
                left_s -= _COLLECT_S
            self._news.clear()
            self._alarm = None

    async def farewell(self, collect: Collect) -> None:
        """Says that this instance ends on purpose. The last telemetry has no successor that would repeat it, so it is
        sent until somebody has written it down."""
        if presence := _made("presence", lambda: self._presence(closing=True)):
            await self._publish(self._presence_subject, presence)
        if (telemetry := _made("telemetry", lambda: collect(True))) and self._connection.may_report:
            with contextlib.suppress(Exception):
                await self._hand_over(telemetry)
        await self._connection.answers(1)

    async def _hand_over(self, telemetry: bytes) -> None:
        written = asyncio.Event()
        await self._connection.subscribe(self._acknowledgement_subject, lambda _: written.set())
        # That there is a reply asks for an acknowledgement; the control plane knows by itself where to send it.
        await self._connection.client.publish(self._telemetry_subject, telemetry, reply=self._acknowledgement_subject)
        await happens(written, _HAND_OVER_S)

    async def _publish(self, subject: str, payload: bytes) -> None:
        """Best effort: what cannot be sent now is dropped."""
        if self._connection.is_open and self._connection.may_report:
            with contextlib.suppress(Exception):
                await self._connection.client.publish(subject, payload)

    def _presence(self, *, closing: bool) -> bytes:
        proof = self._replica.proof(_MAX_PROOF_BYTES) if self.ahead else None
        self._told = self._replica.outside.applied
        kind, message = proof or ("", Signed(b"", ""))
        return msgspec.json.encode(
            wire.Presence(
                instance=self._instance,
                service=self._config.service,
                sdk_version=sdk_version(),
                ep=self._replica.epoch,
                rev=self._replica.revision,
                state=self._progress.sync.value,
                age_s=round(self._replica.time.age_s or 0.0, 3),
                ts=self._replica.time.now_ms(),
                clock_skew_ms=self._replica.time.skew_ms or 0,
                schema_level=LEVEL,
                applied_at=self._progress.applied_at_ms,
                closing=closing,
                proof=message.payload,
                proof_kind=kind,
                proof_sig=message.signature,
                outside=self._told[:MAX_REPORTED],
            )
        )


def _made(what: str, make: Callable[[], bytes | None]) -> bytes | None:
    """A message, or None when it cannot be made: one that cannot must not end the others."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001
        if first_time(type(error).__name__, what):
            log.exception("%s cannot be sent", what)
        return None


@cache
def sdk_version() -> str:
    return version("brownout")
