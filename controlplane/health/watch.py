"""Asks every probe again and again, keeps what they say and tells people what changed."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec
import structlog

from controlplane.errors import UnavailableError
from controlplane.health.alarm import Alarm, News
from controlplane.health.values import Check, Probe, Reasons
from controlplane.kit.background import Loops, beat
from controlplane.kit.clock import Clock, Monotonic
from controlplane.kit.tasks import run_together

log = structlog.get_logger(__name__)

Notify = Callable[[str, dict[str, str]], Awaitable[None]]

EVERY_S = 0.5
ASK_EVERY_S = 1.0
"""Of the probes that ask Postgres."""
PROBE_TIMEOUT_S = 1.5
CANNOT = "cannot be checked"
SILENT_S = 4.0
"""Without a look for so long, the checks say nothing about now."""


class Health:
    """`run` beside everything else; `checks` is what /healthz says, the failing ones first."""

    def __init__(
        self,
        quick: Sequence[Probe],
        asking: Sequence[Probe],
        loops: Loops,
        *,
        clock: Clock,
        monotonic: Monotonic,
        notify: Notify,
    ) -> None:
        """`quick` probes look at what is in memory; those that ask somebody must not hold them up."""
        self._quick = tuple(quick)
        self._asking = tuple(asking)
        self._said: dict[Probe, Reasons] = {probe: {} for probe in (*quick, *asking)}
        self._broken: set[Probe] = set()
        self._loops = loops
        self._clock = clock
        self._monotonic = monotonic
        self._notify = notify
        self._alarm = Alarm()
        self._telling: set[asyncio.Task[None]] = set()
        self._checks: dict[str, Check] = {}
        self._looked = monotonic()
        self._changed = asyncio.Event()

    def checks(self) -> tuple[Check, ...]:
        found = list(self._checks.values())
        if (silent := self._monotonic() - self._looked) > SILENT_S:
            reason = f"no check has run for {silent:.0f} s: the other checks are out of date"
            found.append(Check("health", "failing", reason, self._clock.now()))
        return tuple(sorted(found, key=lambda check: (not check.failing, check.name)))

    def failing(self, environment: str = "") -> tuple[Check, ...]:
        """Those that fail, without the ones about other environments than `environment`."""
        return tuple(each for each in self.checks() if each.failing and each.environment in {"", environment})

    async def changed(self) -> None:
        """Returns at the next change of any check's state."""
        await self._changed.wait()

    async def run(self) -> None:
        await run_together(self._look_forever(), self._ask_forever())

    async def _look_forever(self) -> None:
        while True:
            beat("health.look")
            await self.look()
            beat("health.look", EVERY_S)
            await asyncio.sleep(EVERY_S)

    async def _ask_forever(self) -> None:
        while True:
            beat("health.ask")
            await self.ask()
            beat("health.ask", ASK_EVERY_S)
            await asyncio.sleep(ASK_EVERY_S)

    async def ask(self) -> None:
        await asyncio.gather(*map(self._ask, self._asking))

    async def look(self) -> None:
        await asyncio.gather(*map(self._ask, self._quick))
        reasons: dict[str, str] = {}
        for name, reason in self._loops.reasons():
            reasons[name] = reasons.get(name) or reason
        for said in self._said.values():
            for name, reason in said.items():
                reasons[name] = reasons.get(name) or reason
        self._keep(reasons)
        self._looked = self._monotonic()
        for news in self._alarm.look(self._checks.values(), self._monotonic()):
            task = asyncio.create_task(self._tell(news))  # which may take as long as Postgres does
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, news: News) -> None:
        check = news.check
        fields = {"check": check.name, "reason": check.reason, "replica": socket.gethostname()}
        await self._notify(news.event, {name: value for name, value in fields.items() if value})

    async def _ask(self, probe: Probe) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                self._said[probe] = await probe()
            self._broken.discard(probe)
        except (UnavailableError, TimeoutError):
            pass  # the check of Postgres says so
        except Exception as error:
            if probe not in self._broken:
                self._broken.add(probe)
                log.exception("health_probe_failed")
            self._said[probe] = dict.fromkeys(self._said[probe] or ("health",), f"{CANNOT}: {type(error).__name__}")

    def _keep(self, reasons: Reasons) -> None:
        now, before = self._clock.now(), self._checks
        self._checks = {name: self._check(name, reason, now) for name, reason in reasons.items()}
        if {n: c.state for n, c in before.items()} != {n: c.state for n, c in self._checks.items()}:
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _check(self, name: str, reason: str, now: datetime) -> Check:
        known = self._checks.get(name)
        made = Check(name, "failing" if reason else "ok", reason, now)
        return msgspec.structs.replace(made, since=known.since) if known and known.state == made.state else made
