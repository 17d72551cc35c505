"""Metric families to an OpenTelemetry collector over OTLP/HTTP."""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from controlplane.telemetry.exported import BOUNDS_S, Distribution, Family

log = structlog.get_logger(__name__)

EXPORT_S = 30.0


class OtlpExport:
    """Sends what `families()` answers every EXPORT_S; a collector that is away costs a warning and nothing else."""

    def __init__(self, endpoint: str, families: Callable[[], Sequence[Family]]) -> None:
        self._exporter = OTLPMetricExporter(endpoint=endpoint.rstrip("/") + "/v1/metrics", timeout=10)
        self._families = families
        self._started_ns = time.time_ns()

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(EXPORT_S)
                try:
                    await self.export()
                except Exception:  # the next export may go well
                    log.exception("otlp_not_exported")
        finally:
            self._exporter.shutdown()

    async def export(self) -> bool:
        """Whether the collector took it."""
        data = metrics_data(self._families(), self._started_ns, time.time_ns())
        result = await asyncio.to_thread(self._exporter.export, data)
        if result is not MetricExportResult.SUCCESS:
            log.warning("otlp_not_exported")
        return result is MetricExportResult.SUCCESS


def metrics_data(families: Sequence[Family], started_ns: int, now_ns: int) -> MetricsData:
    metrics = [_metric(family, started_ns, now_ns) for family in families if family.points]
    scope = ScopeMetrics(InstrumentationScope("brownout"), metrics, "")
    resource = Resource.create({"service.name": "brownout-controlplane"})
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, started_ns: int, now_ns: int) -> Metric:
    cumulative = AggregationTemporality.CUMULATIVE
    if family.kind == "histogram":
        points = [
            HistogramDataPoint(
                dict(labels), started_ns, now_ns, value.n, value.total, list(value.counts), list(BOUNDS_S),
                float("inf"), float("-inf"),
            )
            for labels, value in family.points
            if isinstance(value, Distribution)
        ]  # fmt: skip
        return Metric(family.name, family.description, family.unit, Histogram(points, cumulative))
    numbers = [
        NumberDataPoint(dict(labels), started_ns, now_ns, value)
        for labels, value in family.points
        if not isinstance(value, Distribution)
    ]
    data = Sum(numbers, cumulative, True) if family.kind == "counter" else Gauge(numbers)
    return Metric(family.name, family.description, family.unit, data)
