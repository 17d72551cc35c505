"""What the application's own OpenTelemetry gets to see."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from brownout import otel
from brownout.evaluation.compile import Compiled
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from brownout.runner import AsyncRunner, Failed, Output, Runner
from brownout.telemetry.recording import Recording
from sdk.tests.runner.served import TO_SPARE, made
from sdk.tests.runner.served import Client as Served

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


def traced(*rungs: Any) -> tuple[Served, TracerProvider, InMemorySpanExporter, InMemoryMetricReader]:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = Served(made(*rungs))
    otel.export(client, MeterProvider([reader]), provider)
    return client, provider, exporter, reader


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_request_is_a_span_and_each_attempt_a_child_of_it(asynchronous: bool) -> None:
    client, provider, exporter, reader = traced(TO_SPARE)
    tracer = provider.get_tracer("test")

    def down(call: object, question: str) -> Output:
        with tracer.start_as_current_span("POST provider", kind=SpanKind.CLIENT):
            raise Failed("overloaded")

    def plain(call: object, question: str) -> Output:
        return Output("fine", usage=(100, 25))

    async def spare(call: object, question: str) -> Output:
        return plain(call, question)

    with tracer.start_as_current_span("GET /"):
        if asynchronous:
            asyncio.run(AsyncRunner(client, {"a": down, "b": spare}).run("reply", {}, "hello"))
        else:
            Runner(client, {"a": down, "b": plain}).run("reply", {}, "hello")

    spans = {span.name: span for span in exporter.get_finished_spans()}
    request, failed, answered = spans["brownout.request"], spans["chat m-1"], spans["chat s-1"]
    assert parent_of(request) == spans["GET /"].context.span_id
    assert parent_of(failed) == parent_of(answered) == request.context.span_id
    assert parent_of(spans["POST provider"]) == failed.context.span_id, "the provider's client is traced inside"
    assert {each.kind for each in (request, failed, answered)} == {SpanKind.INTERNAL}
    assert request.attributes is not None
    assert (request.attributes["brownout.answered_by"], request.attributes["brownout.attempts"]) == ("spare", 2)
    assert (request.status.status_code, failed.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "overloaded"
    assert answered.attributes is not None
    assert (answered.attributes["gen_ai.provider.name"], answered.attributes["gen_ai.usage.input_tokens"]) == ("b", 100)

    data = reader.get_metrics_data()
    assert data is not None
    metrics = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    tokens = metrics["gen_ai.client.token.usage"].data.data_points
    assert {dict(point.attributes or {})["gen_ai.request.model"] for point in tokens} == {"s-1"}
    assert sum(point.value for point in metrics["brownout.attempts"].data.data_points) == 2  # type: ignore[union-attr]


def test_a_request_without_an_answer_is_an_error() -> None:
    client, _, exporter, _ = traced()

    def down(call: object, question: str) -> Output:
        raise Failed("overloaded")

    Runner(client, {"a": down}).run("reply", {}, "hello")

    request = exporter.get_finished_spans()[-1]
    assert (request.name, request.status.status_code) == ("brownout.request", StatusCode.ERROR)
