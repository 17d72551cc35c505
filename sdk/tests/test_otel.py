"""What the application's own OpenTelemetry gets to see."""

from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from brownout import otel
from brownout.evaluation.compile import Compiled
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from brownout.telemetry.recording import Recording

RESOURCES: dict[tuple[str, str], dict[str, Any]] = {
    ("flag", "model"): {
        "type": "model_route",
        "variants": {"small": {"targets": {"t": {"provider": "acme", "model": "haiku"}}, "primary": "t"}},
        "off_variant": "small", "default": "small",
    },
    ("request_class", "reply"): {"criticality": "critical", "model": "model"},
}  # fmt: skip


class Client(Recording):
    def __init__(self) -> None:
        self._compiled = Compiled.load(
            "production", 7, {ResourceRef(*ref): encode(parse(*ref, spec)) for ref, spec in RESOURCES.items()}
        )
        self._start_counting()


def test_a_recorded_request_becomes_metrics_and_span_events() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    client = Client()
    otel.export(client, provider)
    span = TracerProvider().get_tracer("test").start_span("request")

    with trace.use_span(span, end_on_exit=True):
        client.record(client.policy("reply"), duration_ms=500.0, input_tokens=10, error_class="timeout")

    data = reader.get_metrics_data()
    assert data is not None
    found = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    (duration,) = found["gen_ai.client.operation.duration"].data.data_points
    attributes = dict(duration.attributes or {})
    assert attributes["gen_ai.provider.name"] == "acme"
    assert attributes["error.type"] == "timeout"
    assert attributes["feature_flag.result.variant"] == "small"
    (tokens,) = found["gen_ai.client.token.usage"].data.data_points
    assert dict(tokens.attributes or {})["gen_ai.token.type"] == "input"
    (event,) = span.events  # type: ignore[attr-defined]
    assert event.name == "feature_flag.evaluation"
    assert event.attributes["feature_flag.version"] == "7"
    provider.shutdown()
