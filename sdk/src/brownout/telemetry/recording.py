"""What a service says of its requests. What counts it is loaded when a client starts, not when it is imported."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from brownout.context import NOTHING, Context, ambient, merged
from brownout.evaluation.decision import ErrorCode
from brownout.evaluation.evaluate import Evaluator
from brownout.evaluation.policy import Policy
from brownout.model.values import ErrorClass, RungType

if TYPE_CHECKING:
    from brownout.telemetry.reports import Reports


_UNKNOWN = {ErrorCode.FLAG_NOT_FOUND, ErrorCode.PROVIDER_NOT_READY}


class Recording(Evaluator):
    """An evaluator that counts. `_who()` answers (instance, service) when a message is made."""

    _reports: "Reports"

    def _start_counting(self) -> None:
        """At the start, and again in a forked child: what the parent counted is the parent's to tell."""
        from brownout.telemetry.reports import Reports

        self._reports = Reports(self._reports.recorders if hasattr(self, "_reports") else [])

    def policy(self, request_class: str, context: Context = NOTHING, default: Policy | None = None) -> Policy:
        """What to do now with one request of this class; see brownout.policy.Policy.

        `default` is returned where nothing is known of the class: there is none, or no configuration is held yet.
        """
        if around := ambient():
            context = merged(around, context)
        policy = self._compiled.policy(request_class, context)
        if default is not None and policy.error_code in _UNKNOWN and policy.model is None and not policy.provenance:
            return default
        if not policy.exposures:
            return policy
        return msgspec.structs.replace(policy, unit=self._reports.unit_of(policy, context, self._compiled))

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
    ) -> None:
        """Says how one request that followed `policy` went. Never blocks, never raises.

        `outcome` follows from `error_class` when left out; `rung` is the kind of rung that answered when it was not the
        primary model. None: not known, and not counted either way.
        """
        self._reports.record(
            policy, outcome, error_class, input_tokens, output_tokens, duration_ms, time_to_first_token_ms, quality, rung,
            refused, format_ok, completed, escalated, retrieval_hit,
        )  # fmt: skip

    def score(self, policy: Policy, quality: float) -> None:
        """Says how good the answer to a request was that has been recorded, once that is known. Never blocks, never raises.

        It adds to the measure `quality` and counts no request. A request whose `record` had a quality needs none.
        """
        self._reports.score(policy, quality)

    def track(self, name: str, value: float = 1.0, attributes: Mapping[str, object] | None = None) -> None:
        """Counts something of the service's own, e.g. `client.track("thumbs-up", attributes={"plan": "pro"})`."""
        self._reports.track(name, value, attributes)

    def _who(self) -> tuple[str, str]:
        raise NotImplementedError

    def _collect(self, final: bool) -> bytes | None:
        """What to send as telemetry now, if anything. Called on the sync thread, often, and once when closing."""
        return self._reports.collect(self._compiled.drain_counts, self._who, final)

    def _reborn(self) -> None:
        """Called in a forked child, before its threads start."""
        self._compiled.drain_counts()
        self._start_counting()
