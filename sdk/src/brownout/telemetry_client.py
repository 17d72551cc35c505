"""The client's side of telemetry: what a service says of its requests, and when it is sent."""

import time
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from brownout.attributes import Context, dotted, unit
from brownout.context import ambient, merged
from brownout.evaluate import Evaluator
from brownout.flags import NOTHING
from brownout.model import ResourceRef
from brownout.policy import Policy
from brownout.telemetry import INTERVAL_S, Exposure, Report, Telemetry
from brownout.telemetry_wire import EvaluationKey, RequestKey, parse_rollout_rule
from brownout.values import ErrorClass

Recorder = Callable[[Policy, RequestKey, Report], None]
"""Told of every recorded request, e.g. to export it elsewhere; see brownout.otel."""

Rung = Literal["model", "cache", "template", "human_review"]

_REPEAT_S = 3600.0
"""A message is sent this often even when nothing was counted, so that the control plane remembers this instance."""

_Unit = msgspec.defstruct("_Unit", [("unit", str, "targeting_key")])


class Recording(Evaluator):
    """An evaluator that counts. `_who()` answers (instance, service) when a message is made."""

    _telemetry: Telemetry
    _recorders: list[Recorder]

    def _start_counting(self) -> None:
        """At the start, and again in a forked child: what the parent counted is the parent's to tell."""
        self._telemetry = Telemetry()
        self._recorders = getattr(self, "_recorders", [])
        self._sent_at = time.monotonic()
        self._said_at = 0.0
        self._units: dict[str, str] = {}

    def policy(self, request_class: str, context: Context = NOTHING) -> Policy:
        """What to do now with one request of this class; see brownout.policy.Policy."""
        if around := ambient():
            context = merged(around, context)
        policy = self._compiled.policy(request_class, context)
        return msgspec.structs.replace(policy, unit=self._unit_of(policy, context)) if policy.exposures else policy

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
        rung: Rung | None = None,
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
        try:
            if outcome == "error" and error_class is None:
                error_class = "server_error"
            report = Report(
                error_class, input_tokens, output_tokens, duration_ms, time_to_first_token_ms, quality, rung, refused,
                format_ok, completed, escalated, retrieval_hit,
            )  # fmt: skip
            key = request_key(policy)
            exposures = (
                [Exposure(rule, variant, policy.unit) for rule, variant in policy.exposures] if policy.unit else []
            )
            self._telemetry.record(key, report, exposures)
            for recorder in self._recorders:
                recorder(policy, key, report)
        except Exception:  # noqa: BLE001 - telemetry must never cost an answer
            self._telemetry.drop()

    def track(self, name: str, value: float = 1.0, attributes: Mapping[str, object] | None = None) -> None:
        """Counts something of the service's own, e.g. `client.track("thumbs-up", attributes={"plan": "pro"})`."""
        self._telemetry.track(name, value, attributes)

    def _unit_of(self, policy: Policy, context: Context) -> str | None:
        """The value that the (first) rollout's split hashed."""
        rule = policy.exposures[0][0]
        attribute = self._units.get(rule)
        if attribute is None:
            attribute = self._units[rule] = self._unit_attribute(rule)
        try:
            return unit(dotted(context, attribute, tuple(attribute.split("."))))
        except Exception:  # noqa: BLE001 - whatever was passed as a context
            return None

    def _unit_attribute(self, rule: str) -> str:
        named = parse_rollout_rule(rule)
        spec = self._compiled.resources.get(ResourceRef("rollout", named.rollout)) if named else None
        if spec is None:
            return "targeting_key"
        try:
            return str(msgspec.json.decode(spec, type=_Unit).unit)  # type: ignore[attr-defined]
        except msgspec.DecodeError:
            return "targeting_key"

    def _who(self) -> tuple[str, str]:
        raise NotImplementedError

    def _collect(self, final: bool) -> bytes | None:
        """What to send as telemetry now, if anything. Called on the sync thread, often, and once when closing."""
        now = time.monotonic()
        if not final and now - self._sent_at < INTERVAL_S * 0.75:
            return None
        self._sent_at = now
        counts = self._compiled.drain_counts()
        for flag, n in counts.flags.items():
            self._telemetry.count_evaluation(EvaluationKey(flag.flag, flag.variant or "", flag.reason), n)
        for policy, n in counts.policies.items():
            safe_mode = "on" if policy.safe_mode else ""
            self._telemetry.count_policy(RequestKey(policy.request_class, policy.target or "", "", safe_mode), n)
        self._telemetry.identify(*self._who())
        message = self._telemetry.message(final=final or now - self._said_at > _REPEAT_S)
        if message is not None:
            self._said_at = now
        return message

    def _reborn(self) -> None:
        """Called in a forked child, before its threads start."""
        self._compiled.drain_counts()
        self._start_counting()


def request_key(policy: Policy) -> RequestKey:
    """The labels under which a request of this policy is counted."""
    decision = policy.provenance.get("model")
    return RequestKey(
        policy.request_class,
        policy.model.model if policy.model else "",
        (decision.variant if decision else None) or "",
        "+".join(policy.safe_mode.profiles),
    )
