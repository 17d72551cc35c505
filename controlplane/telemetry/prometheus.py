"""Metric families as Prometheus text, named as the OpenTelemetry exporter for Prometheus would."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.telemetry.exported import BOUNDS_S, Distribution, Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(families: Sequence[Family]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            names = sorted({label for labels, _ in family.points for label in labels})
            yield _metric(family, names)


def _metric(family: Family, names: Sequence[str]) -> Metric:
    name = family.name.replace(".", "_") + ("_seconds" if family.unit == "s" else "")
    labels = [label.replace(".", "_") for label in names]
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, family.description, labels=labels)
        for point, value in family.points:
            if isinstance(value, Distribution):
                bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
                buckets = list(zip(bounds, accumulate(value.counts), strict=True))
                histogram.add_metric([point.get(label, "") for label in names], buckets, value.total)
        return histogram
    simple = (CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily)(
        name, family.description, labels=labels
    )
    for point, value in family.points:
        if not isinstance(value, Distribution):
            simple.add_metric([point.get(label, "") for label in names], value)
    return simple
