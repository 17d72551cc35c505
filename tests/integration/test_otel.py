"""Traces and metrics reach a collector."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from litestar import Litestar, get
from litestar.params import FromPath
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from controlplane.kit.otel import ObserveRequests, observing

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its URL, and what was sent to each path."""
    received: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


@get("/flags/{key:str}")
async def flag(key: FromPath[str]) -> str:
    return key


async def test_a_request_is_a_span_of_the_callers_trace(
    collector: tuple[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    url, received = collector
    with observing(url) as observability:
        assert observability is not None
        app = Litestar([flag], middleware=[ObserveRequests(observability)], openapi_config=None)
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.get("/flags/secret", headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
    spans = ExportTraceServiceRequest.FromString(received["/v1/traces"]).resource_spans[0].scope_spans[0].spans
    assert [(span.name, span.trace_id.hex()) for span in spans] == [("GET /flags/{key}", TRACE)]
    attributes = {a.key: a.value.string_value or a.value.int_value for a in spans[0].attributes}
    assert attributes["http.response.status_code"] == 200
    assert b"secret" not in received["/v1/traces"]
    metrics = (
        ExportMetricsServiceRequest.FromString(received["/v1/metrics"]).resource_metrics[0].scope_metrics[0].metrics
    )
    assert [metric.name for metric in metrics] == ["http.server.request.duration"]


def test_without_an_endpoint_there_is_nothing() -> None:
    with observing("") as observability:
        assert observability is None
