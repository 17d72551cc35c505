"""Sends what is recorded to the application's own OpenTelemetry: `pip install "brownout[otel]"`.

    from brownout import otel

    otel.export(client)      # after the application has set up its meter provider

Names are those of the semantic conventions for generative AI (`gen_ai.*`) and feature flags (`feature_flag.*`). The
runner's requests are spans, too: `brownout.request`, with a child for each attempt.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from brownout.evaluation.policy import Policy, PolicyTarget
from brownout.telemetry.attempted import Attempted
from brownout.telemetry.requests import Report
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
        self._attempts = meter.create_counter("brownout.attempts", "{attempt}", "Calls to models.")
        self._attempt = meter.create_histogram("brownout.attempt.duration", "s", "How long calls to models took.")

    def __call__(self, policy: Policy, key: RequestKey, report: Report) -> None:
        attributes = _attributes(policy, key)
        if report.error_class is not None:
            attributes["error.type"] = report.error_class
        if report.rung is not None:
            attributes["brownout.rung"] = report.rung
        if report.answered_by is not None:
            attributes["brownout.answered_by"] = report.answered_by
        self._requests.add(1, attributes)
        if report.duration_ms is not None:
            self._duration.record(report.duration_ms / 1000, attributes)
        if report.time_to_first_token_ms is not None:
            self._first.record(report.time_to_first_token_ms / 1000, attributes)
        for each, input_tokens, output_tokens in _spent(attributes, report):
            for kind, tokens in (("input", input_tokens), ("output", output_tokens)):
                if tokens:
                    self._tokens.add(tokens, {**each, "gen_ai.token.type": kind})
        for attempt in report.attempts:
            called = _called(attributes, attempt)
            self._attempts.add(1, called)
            if attempt.duration_ms is not None:
                self._attempt.record(attempt.duration_ms / 1000, called)
        _mark_span(policy)


class _Span:
    def __init__(self, span: Span) -> None:
        self._span = span

    def current(self) -> AbstractContextManager[Any]:
        return trace.use_span(self._span)


class _AttemptSpan(_Span):
    def end(self, attempted: Attempted | None) -> None:
        span = self._span
        if attempted is None:
            span.set_attribute("brownout.abandoned", True)
        elif attempted.usage is not None:
            span.set_attribute("gen_ai.usage.input_tokens", attempted.usage[0])
            span.set_attribute("gen_ai.usage.output_tokens", attempted.usage[1])
        if attempted is not None:
            span.set_attribute("brownout.purpose", attempted.purpose)
            if attempted.first_token_ms is not None:
                span.set_attribute("gen_ai.response.time_to_first_chunk", attempted.first_token_ms / 1000)
            if attempted.error is not None:
                span.set_attribute("error.type", attempted.error)
                span.set_status(Status(StatusCode.ERROR, attempted.error))
        span.end()


class _RequestSpan(_Span):
    def __init__(self, tracer: trace.Tracer, span: Span) -> None:
        super().__init__(span)
        self._tracer = tracer
        self._attempts = 0

    def attempt(self, target: PolicyTarget) -> _AttemptSpan:
        """INTERNAL: the CLIENT span of the same call belongs to the provider's client."""
        self._attempts += 1
        named = {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": target.provider,
            "gen_ai.request.model": target.model, "brownout.target": target.name,
        }  # fmt: skip
        within = trace.set_span_in_context(self._span)
        return _AttemptSpan(self._tracer.start_span(f"chat {target.model}", within, SpanKind.INTERNAL, named))

    def end(
        self, outcome: str, *, error: str | None, rung: str | None, answered_by: str | None, provisional: bool
    ) -> None:
        said = {"brownout.outcome": outcome, "brownout.rung": rung, "brownout.answered_by": answered_by}
        self._span.set_attributes({name: value for name, value in said.items() if value is not None})
        self._span.set_attributes({"brownout.attempts": self._attempts, "brownout.provisional": provisional})
        if outcome == "failed":
            self._span.set_attribute("error.type", error or "_OTHER")
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class _Tracer:
    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def begin(self, policy: Policy) -> _RequestSpan:
        named: dict[str, str | int] = {
            "brownout.request_class": policy.request_class, "brownout.revision": policy.revision,
            "brownout.safe_mode": "+".join(policy.safe_mode.profiles),
        }  # fmt: skip
        span = self._tracer.start_span("brownout.request", kind=SpanKind.INTERNAL, attributes=named)
        return _RequestSpan(self._tracer, span)


def export(
    client: "Recording",
    meter_provider: metrics.MeterProvider | None = None,
    tracer_provider: trace.TracerProvider | None = None,
) -> None:
    """From now on every `client.record` and every request of a runner is exported too; without providers, through the
    global ones."""
    client._reports.recorders.append(_Exporter(metrics.get_meter("brownout", meter_provider=meter_provider)))
    client._reports.tracer = _Tracer(trace.get_tracer("brownout", tracer_provider=tracer_provider))


def _spent(attributes: _Attributes, report: Report) -> Iterator[tuple[_Attributes, int, int]]:
    """Tokens of each attempt under its own model; without attempts, of the request under the policy's."""
    if not report.attempts:
        yield attributes, report.input_tokens, report.output_tokens
    for attempt in report.attempts:
        if attempt.usage is not None:
            yield _called(attributes, attempt, failed=False), *attempt.usage


def _called(attributes: _Attributes, attempt: Attempted, *, failed: bool = True) -> _Attributes:
    """Of one call: the model that was called, and its own error."""
    own = {"gen_ai.provider.name": attempt.provider, "gen_ai.request.model": attempt.model}
    called = {name: value for name, value in attributes.items() if name not in {"error.type", "brownout.rung"}} | own
    return {**called, "error.type": attempt.error} if failed and attempt.error is not None else called


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
