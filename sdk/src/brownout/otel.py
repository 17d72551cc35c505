"""Sends what is recorded to the application's own OpenTelemetry: `pip install "brownout[otel]"`.

    from brownout import otel

    otel.export(client)      # after the application has set up its meter provider

Names are those of the semantic conventions for generative AI (`gen_ai.*`) and feature flags (`feature_flag.*`).
"""

from typing import TYPE_CHECKING

from opentelemetry import metrics, trace

from brownout.evaluation.policy import Policy
from brownout.telemetry.counters import Report
from brownout.wire.telemetry import RequestKey

if TYPE_CHECKING:
    from brownout.telemetry.recording import Recording

_Attributes = dict[str, str]


class _Exporter:
    """A recorder (telemetry_client.Recorder): histograms and counters, and an event on the request's own span."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "How long requests took.",
            explicit_bucket_boundaries_advisory=[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48],
        )  # fmt: skip
        self._first = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s", "How long until the first token."
        )
        self._tokens = meter.create_counter("gen_ai.client.token.usage", "{token}", "Tokens in and out.")
        self._requests = meter.create_counter("brownout.requests", "{request}", "Recorded requests.")

    def __call__(self, policy: Policy, key: RequestKey, report: Report) -> None:
        attributes = _attributes(policy, key)
        if report.error_class is not None:
            attributes["error.type"] = report.error_class
        if report.rung is not None:
            attributes["brownout.rung"] = report.rung
        self._requests.add(1, attributes)
        if report.duration_ms is not None:
            self._duration.record(report.duration_ms / 1000, attributes)
        if report.time_to_first_token_ms is not None:
            self._first.record(report.time_to_first_token_ms / 1000, attributes)
        for kind, tokens in (("input", report.input_tokens), ("output", report.output_tokens)):
            if tokens:
                self._tokens.add(tokens, {**attributes, "gen_ai.token.type": kind})
        _mark_span(policy)


def export(client: "Recording", meter_provider: metrics.MeterProvider | None = None) -> None:
    """From now on every `client.record` is exported too; without a provider, through the global one."""
    client._reports.recorders.append(_Exporter(metrics.get_meter("brownout", meter_provider=meter_provider)))


def _attributes(policy: Policy, key: RequestKey) -> _Attributes:
    found = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": key.model,
        "brownout.request_class": key.request_class,
        "brownout.safe_mode": key.safe_mode,
        "feature_flag.result.variant": key.variant,
    }
    if key.prompt:
        found["brownout.prompt"] = key.prompt
    if policy.model is not None:
        found["gen_ai.provider.name"] = policy.model.provider
    return found


def _mark_span(policy: Policy) -> None:
    """One `feature_flag.evaluation` event a decision behind the policy, on the span that is current."""
    span = trace.get_current_span()
    if not span.is_recording():
        return
    for decision in policy.provenance.values():
        span.add_event(
            "feature_flag.evaluation",
            {
                "feature_flag.key": decision.flag,
                "feature_flag.provider.name": "brownout",
                "feature_flag.result.variant": decision.variant or "",
                "feature_flag.result.reason": decision.reason.lower(),
                "feature_flag.version": str(decision.revision),
            },
        )
