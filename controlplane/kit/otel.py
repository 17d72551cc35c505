"""OpenTelemetry behind `BROWNOUT_OTLP_ENDPOINT`: a span and a duration for every request, by the semantic conventions."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()


class Observability:
    """The process's own providers; nothing global, so that a test or a second application is on its own."""

    def __init__(self, endpoint: str) -> None:
        base = endpoint.rstrip("/")
        resource = Resource.create({"service.name": "brownout-controlplane"})
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{base}/v1/traces")))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{base}/v1/metrics"))
        self._metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        self.tracer = self._traces.get_tracer("brownout.controlplane")
        self.duration = self._metrics.get_meter("brownout.controlplane").create_histogram(
            "http.server.request.duration", unit="s"
        )

    def close(self) -> None:
        """Sends what is left."""
        self._traces.shutdown()
        self._metrics.shutdown()


@contextmanager
def observing(endpoint: str) -> Iterator[Observability | None]:
    """None without an endpoint."""
    if not endpoint:
        yield None
        return
    observability = Observability(endpoint)
    try:
        yield observability
    finally:
        observability.close()


class ObserveRequests(ASGIMiddleware):
    """Continues the caller's trace (W3C Trace Context). Routes are templates: no key of a resource leaves by them."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, observability: Observability) -> None:
        self._observability = observability

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        route = str(scope.get("path_template") or "none")
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope.get("headers", ())}
        attributes: dict[str, str | int] = {
            "http.request.method": str(scope.get("method", "")),
            "http.route": route,
            "http.response.status_code": 500,
        }

        async def watching(message: Message) -> None:
            if message["type"] == "http.response.start":
                attributes["http.response.status_code"] = message["status"]
            await send(message)

        started = time.perf_counter()
        with self._observability.tracer.start_as_current_span(
            f"{attributes['http.request.method']} {route}", _PROPAGATOR.extract(carrier), SpanKind.SERVER
        ) as span:
            try:
                await next_app(scope, receive, watching)
            finally:
                span.set_attributes(attributes)
                if int(attributes["http.response.status_code"]) >= 500:
                    span.set_status(StatusCode.ERROR)
                self._observability.duration.record(time.perf_counter() - started, attributes)
