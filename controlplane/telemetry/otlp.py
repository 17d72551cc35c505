"""Metric families to an OpenTelemetry collector over OTLP/HTTP."""

import asyncio
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

from controlplane.kit.background import beat, words
from controlplane.kit.clock import Clock
from controlplane.telemetry.exported import BOUNDS_S, Distribution, Family

log = structlog.get_logger(__name__)

EXPORT_S = 30.0
TIMEOUT_S = 10


class OtlpExport:
    """Sends what `families()` answers every EXPORT_S; a collector that is away costs a warning and nothing else."""

    def __init__(self, endpoint: str, families: Callable[[], Sequence[Family]], clock: Clock) -> None:
        self._exporter = OTLPMetricExporter(endpoint=endpoint.rstrip("/") + "/v1/metrics", timeout=TIMEOUT_S)
        self._families = families
        self._clock = clock
        self._started_ns = self._now_ns()

    async def run(self) -> None:
        trouble = ""
        try:
            while True:
                beat("otlp", EXPORT_S, trouble)
                await asyncio.sleep(EXPORT_S)
                beat("otlp", TIMEOUT_S)
                try:
                    trouble = "" if await self.export() else "the collector did not take the metrics"
                except Exception as error:  # the next export may go well
                    log.exception("otlp_not_exported")
                    trouble = words(error)
        finally:
            self._exporter.shutdown()

    async def export(self) -> bool:
        """Whether the collector took it."""
        data = metrics_data(self._families(), self._started_ns, self._now_ns())
        result = await asyncio.to_thread(self._exporter.export, data)
        if result is not MetricExportResult.SUCCESS:
            log.warning("otlp_not_exported")
        return result is MetricExportResult.SUCCESS

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1e9)


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
