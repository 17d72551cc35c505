"""Telemetry as one capability."""

from controlplane.access.actor import system_actor
from controlplane.kit.database import Database
from controlplane.parts import Parts
from controlplane.telemetry.log import Log
from controlplane.telemetry.otlp import OtlpExport
from controlplane.telemetry.prices import read_prices
from controlplane.telemetry.quotas import Quotas
from controlplane.telemetry.service import Telemetry

FOLDING_POOL = 3
"""Connections for telemetry in the background, besides `database_pool`: it takes none from commits and pages."""


async def open_telemetry(parts: Parts, log: Log) -> Telemetry:
    settings = parts.settings
    folding = Database(
        settings.database_url.reveal(), pool_size=FOLDING_POOL, lock_timeout_ms=2_000, statement_timeout_ms=8_000
    )
    parts.stack.push_async_callback(folding.close)
    quotas = Quotas(
        instances=settings.telemetry_instances,
        series=settings.telemetry_series,
        evaluations=settings.telemetry_evaluations,
        bytes_per_minute=settings.telemetry_bytes_per_minute,
    )
    telemetry = Telemetry(
        parts.database, parts.store, parts.clock, read_prices(settings.prices), settings.telemetry_days,
        notify=parts.notify, log=log, folding=folding, quotas=quotas, metrics_series=settings.metrics_series,
    )  # fmt: skip
    await telemetry.attach(parts.link)
    parts.run("telemetry", telemetry.run)
    parts.quick.append(telemetry.probe)
    if settings.otlp_endpoint:
        everything = system_actor("system:otlp")
        export = OtlpExport(settings.otlp_endpoint, lambda: telemetry.families(everything), parts.clock)
        parts.run("otlp", export.run)
    return telemetry
