"""Telemetry as one capability: what the composition root opens, and what the edges read."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from brownout.telemetry.posted import RecordInput
from controlplane.access.actor import Action, Actor, authorize, readable
from controlplane.configuration.store import Store
from controlplane.errors import UnavailableError
from controlplane.kit.background import beat, words
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.kit.link import Heard
from controlplane.kit.notify import Notify
from controlplane.kit.tasks import run_together
from controlplane.telemetry import fleet, ingest, tables
from controlplane.telemetry.class_outcomes import ClassOutcomesReader
from controlplane.telemetry.exported import MAX_SERIES, Exported, Family
from controlplane.telemetry.flag_use import FlagUses
from controlplane.telemetry.fleet import Fleet
from controlplane.telemetry.ingest import Ingest
from controlplane.telemetry.lag import LagAlerts
from controlplane.telemetry.log import Log
from controlplane.telemetry.prices import Prices
from controlplane.telemetry.quotas import Quotas
from controlplane.telemetry.refusals import Refusals
from controlplane.telemetry.signals import Signals
from controlplane.telemetry.values import RefusedList

log = structlog.get_logger(__name__)

CLEAN_EVERY_S = 3600.0
CLEANING_S = 60.0
BATCH = 5_000
"""Rows deleted in one transaction: folding waits for no longer than that takes."""
MAX_INSTANCES = 10_000


class Link(Protocol):
    """What telemetry needs of the connection to NATS: subscriptions that come back when it does."""

    async def subscribe(
        self, subject: str, handler: Callable[[Heard], Awaitable[None]], *, queue: str = ""
    ) -> object: ...


class Telemetry:
    """`attach` to NATS, then `run` until cancelled."""

    def __init__(
        self,
        database: Database,
        store: Store,
        clock: Clock,
        prices: Prices,
        retention_days: int,
        *,
        notify: Notify | None = None,
        log: Log | None = None,
        folding: Database | None = None,
        quotas: Quotas | None = None,
        metrics_series: int = MAX_SERIES,
    ) -> None:
        """`folding` is the pool for what runs in the background, so that no page and no commit waits for it."""
        folding = folding or database
        self._database = folding
        self._reading = database
        self._clock = clock
        self._retention_days = retention_days
        refusals = Refusals()
        alerts = LagAlerts(folding, clock, notify) if notify else None
        self.ingest = Ingest(folding, clock, Exported(metrics_series), quotas, refusals)
        self.fleet = Fleet(folding, clock, alerts, quotas, refusals, log=log)
        self.signals = Signals(database, store, clock, prices)
        self.class_outcomes = ClassOutcomesReader(database, clock, prices)
        self.flag_uses = FlagUses(database, clock)

    def families(self, actor: Actor) -> list[Family]:
        """This replica's metrics, of the environments that the actor may read."""
        refused = self.ingest.refusals.total
        shown = readable(actor, sorted({*self.fleet.environments(), *(environment for environment, _ in refused)}))
        live = {name: self.fleet.live(name) for name in shown}
        lagging = {name: len(self.fleet.lagging(name)) for name in shown}
        return self.ingest.exported.families(shown, live, lagging, refused)

    async def refused(self, actor: Actor, environment: str) -> RefusedList:
        """What SDKs sent and nobody counted, in the last day."""
        authorize(actor, Action.READ, environment)
        async with self._reading.reading() as connection:
            return RefusedList(await tables.refused(connection, environment, self._clock.now()))

    def record(self, actor: Actor, environment: str, told: RecordInput) -> None:
        """Counts a request that was reported over HTTP, under the SDK key that was shown. It is written within ten
        seconds."""
        authorize(actor, Action.REPORT, environment)
        self.ingest.posted.record(environment, actor.sdk_key or "api", told)

    def live_services(self, actor: Actor, environment: str) -> list[str]:
        """The service of each live instance."""
        found = self.fleet.instances(actor, environment, limit=MAX_INSTANCES)
        return [each.service for each in found if each.live]

    async def request_rates(self, actor: Actor, environment: str) -> dict[str, float]:
        """Requests a minute by request class, as the summary has them."""
        summary = await self.signals.summary(actor, environment)
        return {each.request_class: each.now.get("requests_per_min") or 0.0 for each in summary.classes}

    async def attach(self, link: Link) -> None:
        """Messages are shared with the other replicas; presence and commits are heard by all."""
        await link.subscribe(ingest.SUBJECT, self.ingest.receive, queue=ingest.QUEUE)
        await link.subscribe(fleet.PRESENCE_SUBJECT, self.fleet.heard)
        await link.subscribe(fleet.LOG_SUBJECT, self.fleet.committed)
        await link.subscribe(fleet.HEARTBEAT_SUBJECT, self.fleet.beat)

    async def probe(self) -> dict[str, str]:
        failing = self.ingest.failing or self.fleet.failing
        return {"telemetry": f"telemetry cannot be written: {failing}" if failing else ""}

    async def run(self) -> None:
        await run_together(self.ingest.run(), self.fleet.run(), self._clean())

    async def _clean(self) -> None:
        while True:
            beat("telemetry.cleaning", CLEANING_S)
            trouble = ""
            try:
                async with self._database.transaction() as connection:
                    dropped = await tables.drop_older(connection, self._clock.now(), self._retention_days)
                if dropped:
                    log.info("telemetry_expired", partitions=dropped)
                while await self._delete_some() == BATCH:
                    beat("telemetry.cleaning", CLEANING_S)
            except UnavailableError as error:
                log.warning("telemetry_not_cleaned", error=error.message)
                trouble = words(error)
            except Exception as error:
                log.exception("telemetry_not_cleaned")
                trouble = words(error)
            beat("telemetry.cleaning", CLEAN_EVERY_S, trouble)
            await asyncio.sleep(CLEAN_EVERY_S)

    async def _delete_some(self) -> int:
        async with self._database.transaction() as connection:
            return await tables.delete_older(connection, self._clock.now(), self._retention_days, BATCH)
