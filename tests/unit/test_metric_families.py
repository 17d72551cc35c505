"""What was folded, as Prometheus and OpenTelemetry read it."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from brownout.telemetry.sketch import bucket_of
from brownout.wire.telemetry import EvaluationKey, RequestKey, RequestTotals
from controlplane.kit.clock import SystemClock
from controlplane.telemetry.exported import BOUNDS_S, Exported, Family
from controlplane.telemetry.fold import Counted
from controlplane.telemetry.otlp import OtlpExport
from controlplane.telemetry.prometheus import render

pytestmark = pytest.mark.anyio

KEY = RequestKey("support-reply", "haiku", "small", "")


@pytest.fixture
def families() -> list[Family]:
    exported = Exported()
    for _ in range(2):
        exported.add(
            "production",
            Counted(
                requests={
                    KEY: RequestTotals(
                        requests=2, errors={"timeout": 1}, fallbacks={"cache": 1}, input_tokens=100, output_tokens=20,
                        duration={bucket_of(500.0): 1, bucket_of(200_000.0): 1},
                    )
                },
                evaluations={EvaluationKey("web-search", "on", "SPLIT"): 3},
                dropped=1,
            ),
        )  # fmt: skip
    exported.add("secret", Counted(requests={KEY: RequestTotals(requests=9)}))
    return exported.families(["production"], {"production": 4}, {"production": 1})


def test_prometheus_reads_counters_gauges_and_histograms(families: list[Family]) -> None:
    text = render(families).decode()

    labels = (
        'brownout_environment="production",brownout_request_class="support-reply",brownout_safe_mode="",'
        'feature_flag_result_variant="small",gen_ai_request_model="haiku"'
    )
    assert 'brownout_fleet_live{brownout_environment="production"} 4.0' in text
    assert f"brownout_requests_total{{{labels}}} 4.0" in text
    assert 'error_type="timeout"' in text
    assert 'feature_flag_result_reason="split"' in text
    assert f'gen_ai_client_operation_duration_seconds_bucket{{{labels},le="0.64"}} 2.0' in text
    assert f'gen_ai_client_operation_duration_seconds_bucket{{{labels},le="+Inf"}} 4.0' in text
    assert f"gen_ai_client_operation_duration_seconds_count{{{labels}}} 4.0" in text
    assert "secret" not in text


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    received: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_collector_gets_them_under_opentelemetrys_names(
    families: list[Family], collector: tuple[str, list[bytes]]
) -> None:
    url, received = collector
    export = OtlpExport(url, lambda: families, SystemClock())
    assert await export.export()
    export._exporter.shutdown()

    request = ExportMetricsServiceRequest.FromString(received[0])
    metrics = {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}
    assert metrics["gen_ai.client.token.usage"].sum.is_monotonic
    assert {point.as_double or point.as_int for point in metrics["gen_ai.client.token.usage"].sum.data_points} == {
        200,
        40,
    }
    (duration,) = metrics["gen_ai.client.operation.duration"].histogram.data_points
    assert (duration.count, list(duration.explicit_bounds)) == (4, list(BOUNDS_S))
    assert sum(duration.bucket_counts) == 4
    assert metrics["brownout.fleet.live"].gauge.data_points[0].as_int == 4
