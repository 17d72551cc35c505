"""What a service says of its requests. What counts it is loaded when a client starts, not when it is imported."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from brownout.context import NOTHING, Context, ambient, merged
from brownout.evaluation.decision import ErrorCode
from brownout.evaluation.evaluate import Evaluator
from brownout.evaluation.policy import Policy
from brownout.model.values import ErrorClass, RungType

if TYPE_CHECKING:
    from brownout.evaluation.compile import Compiled
    from brownout.telemetry.attempted import Attempted
    from brownout.telemetry.reports import Reports
    from brownout.telemetry.tracing import RequestSpan
    from brownout.telemetry.windows import Windows


_UNKNOWN = {ErrorCode.FLAG_NOT_FOUND, ErrorCode.PROVIDER_NOT_READY}


class Recording(Evaluator):
    """An evaluator that counts. `_who()` answers (instance, service) when a message is made."""

    _reports: "Reports"
    _windows: "Windows | None" = None
    """None where nothing is counted against budget windows."""

    def _start_counting(self) -> None:
        """At the start, and again in a forked child: what the parent counted is the parent's to tell."""
        from brownout.telemetry.reports import Reports

        before = getattr(self, "_reports", None)
        self._reports = Reports(before.recorders, before.tracer) if before else Reports([])

    def policy(self, request_class: str, context: Context = NOTHING, default: Policy | None = None) -> Policy:
        """What to do now with one request of this class; see brownout.policy.Policy.

        `default` is returned where nothing is known of the class: there is none, or no configuration is held yet.
        """
        if around := ambient():
            context = merged(around, context)
        policy = self._compiled.policy(request_class, context)
        if default is not None and policy.error_code in _UNKNOWN and policy.model is None and not policy.provenance:
            return default
        if policy.budget.window is not None and self._windows is not None:
            policy = self._windows.seen(policy, context)
        beside = self._reports.beside(policy, context, self._compiled)
        if not policy.exposures and not beside:
            return policy
        unit = self._reports.unit_of(policy, context, self._compiled) if policy.exposures else None
        return msgspec.structs.replace(policy, unit=unit, beside=beside)

    def record(
        self,
        policy: Policy,
        *,
        outcome: Literal["ok", "error"] | None = None,
        error_class: ErrorClass | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        duration_ms: float | None = None,
        time_to_first_token_ms: float | None = None,
        quality: float | None = None,
        rung: RungType | None = None,
        refused: bool = False,
        format_ok: bool | None = None,
        completed: bool | None = None,
        escalated: bool = False,
        retrieval_hit: bool | None = None,
        cost: float | None = None,
        answered_by: str | None = None,
        attempts: Sequence["Attempted"] = (),
        provisional: bool = False,
        shed: bool = False,
        stopped: bool = False,
        queued: bool = False,
        abandoned: bool = False,
        prompt_tokens: int | None = None,
        cache_age_s: float | None = None,
        drill: str = "",
    ) -> None:
        """Says how one request that followed `policy` went. Never blocks, never raises. The runner does it by itself.

        None: not known, and not counted either way.

        Args:
            outcome: Follows from `error_class` when left out.
            error_class: How the policy's own model failed, whatever answered after it.
            input_tokens, output_tokens: Of all attempts; their sum when left out.
            rung: The kind of rung that answered when it was not the primary model.
            answered_by: The name of the target that answered, where a model did.
            attempts: Each call to a model (`brownout.runner.Attempted`). The tokens and errors are its own.
            provisional: The answer is less than one of a model: cached, sources only, or cut off.
            shed, stopped: Turned away by the policy. Both are taken from `policy` if nothing answered.
            queued: A person or a later run has the request.
            abandoned: The user left before the end.
            prompt_tokens: The size of the prompt.
            cache_age_s: How old the cached answer was.
            cost: In your own currency.
            drill: The drill that the request was part of. Rollouts ignore it.
        """
        if self._windows is not None:
            self._windows.told(policy, input_tokens, output_tokens, attempts)
        self._reports.record(
            policy, outcome, drill, error_class, input_tokens, output_tokens, duration_ms, time_to_first_token_ms,
            quality, rung, refused, format_ok, completed, escalated, retrieval_hit, answered_by, attempts, provisional,
            shed, stopped, queued, abandoned, prompt_tokens, cache_age_s, cost=cost,
        )  # fmt: skip

    def score(self, policy: Policy, quality: float) -> None:
        """Says how good the answer to a request was that has been recorded, once that is known. Never blocks, never raises.

        It adds to the measure `quality` and counts no request. A request whose `record` had a quality needs none.
        """
        self._reports.score(policy, quality)

    def track(
        self,
        name: str,
        value: float = 1.0,
        attributes: Mapping[str, object] | None = None,
        *,
        context: Context = NOTHING,
    ) -> None:
        """Counts something of the service's own, e.g. `client.track("thumbs-up", attributes={"plan": "pro"})`.

        `context` is whose event it is, as in a decision: rollouts that compare the event count it for that unit. Never
        blocks, never raises.
        """
        if around := ambient():
            context = merged(around, context)
        self._reports.track(name, value, attributes, context, self._compiled)

    def _holding(self, compiled: "Compiled") -> "Compiled":
        """`compiled`, whose exposures to rollouts are counted here."""
        compiled.expose = lambda outcome, context: self._reports.expose(outcome, context, compiled)
        return compiled

    @property
    def _fleet(self) -> int | None:
        """Instances that share what a fleet shares; None if unknown."""
        return None

    def _span(self, policy: Policy) -> "RequestSpan | None":
        """For the runner: the span of a request that begins; None where nothing is traced."""
        tracer = self._reports.tracer
        return None if tracer is None else tracer.begin(policy)

    def _who(self) -> tuple[str, str]:
        raise NotImplementedError

    def _collect(self, final: bool) -> bytes | None:
        """What to send as telemetry now, if anything. Called on the sync thread, often, and once when closing."""
        return self._reports.collect(self._compiled.drain_counts, self._who, final)

    def _reborn(self) -> None:
        """Called in a forked child, before its threads start."""
        self._compiled.drain_counts()
        self._start_counting()
        if self._windows is not None:
            self._windows = self._windows.heir()
