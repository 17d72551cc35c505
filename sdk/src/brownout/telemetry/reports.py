"""The client's side of telemetry: its requests and evaluations under their labels, and when they are sent."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from brownout.context import Context
from brownout.evaluation.attributes import dotted, unit
from brownout.evaluation.compile import Compiled
from brownout.evaluation.counts import Counts
from brownout.evaluation.policy import Policy
from brownout.model.resources import ResourceRef
from brownout.telemetry.counters import INTERVAL_S, Exposure, Report, Telemetry
from brownout.wire.telemetry import EvaluationKey, RequestKey, parse_rollout_rule

Recorder = Callable[[Policy, RequestKey, Report], None]
"""Told of every recorded request, e.g. to export it elsewhere; see brownout.otel."""

_REPEAT_S = 3600.0
"""A message is sent this often even when nothing was counted, so that the control plane remembers this instance."""


class Unit(msgspec.Struct, frozen=True):
    """What a rollout's spec says of whom it splits."""

    unit: str = "targeting_key"


class Reports:
    """What one client (brownout.recording) has to tell. `recorders` are told of each request too."""

    def __init__(self, recorders: list[Recorder]) -> None:
        self.recorders = recorders
        self._telemetry = Telemetry()
        self._sent_at = time.monotonic()
        self._said_at = 0.0
        self._units: dict[str, str] = {}

    def record(self, policy: Policy, outcome: object, error_class: str | None, *said: Any) -> None:
        """`said` are the other fields of a Report. Never raises, whatever a service passes."""
        try:
            if outcome == "error" and error_class is None:
                error_class = "server_error"
            report, key = Report(error_class, *said), request_key(policy)
            self._telemetry.record(key, report, _exposures(policy))
            for recorder in self.recorders:
                recorder(policy, key, report)
        except Exception:  # noqa: BLE001 - telemetry must never cost an answer
            self._telemetry.drop()

    def score(self, policy: Policy, quality: float) -> None:
        """Never raises, whatever a service passes."""
        try:
            self._telemetry.score(request_key(policy), quality, _exposures(policy))
        except Exception:  # noqa: BLE001 - telemetry must never cost an answer
            self._telemetry.drop()

    def track(self, name: str, value: float, attributes: Mapping[str, object] | None) -> None:
        self._telemetry.track(name, value, attributes)

    def unit_of(self, policy: Policy, context: Context, compiled: Compiled) -> str | None:
        """The value that the (first) rollout's split hashed."""
        return unit_of(policy, context, compiled, self._units)

    def collect(self, drain: Callable[[], Counts], who: Callable[[], tuple[str, str]], final: bool) -> bytes | None:
        """The message that is due, if one is and has something to say."""
        now = time.monotonic()
        if not final and now - self._sent_at < INTERVAL_S * 0.75:
            return None
        self._sent_at = now
        counts = drain()
        for flag, n in counts.flags.items():
            self._telemetry.count_evaluation(EvaluationKey(flag.flag, flag.variant or "", flag.reason), n)
        for policy, n in counts.policies.items():
            safe_mode = "on" if policy.safe_mode else ""
            self._telemetry.count_policy(RequestKey(policy.request_class, policy.target or "", "", safe_mode), n)
        self._telemetry.identify(*who())
        message = self._telemetry.message(final=final or now - self._said_at > _REPEAT_S)
        if message is not None:
            self._said_at = now
        return message


def _exposures(policy: Policy) -> list[Exposure]:
    return [Exposure(rule, variant, policy.unit) for rule, variant in policy.exposures] if policy.unit else []


def unit_of(policy: Policy, context: Context, compiled: Compiled, attributes: dict[str, str]) -> str | None:
    """The value that the split of the policy's (first) rollout hashed; `attributes` remembers which one that is, by rule."""
    rule = policy.exposures[0][0]
    attribute = attributes.get(rule)
    if attribute is None:
        attribute = attributes[rule] = _unit_attribute(rule, compiled)
    try:
        return unit(dotted(context, attribute, tuple(attribute.split("."))))
    except Exception:  # noqa: BLE001 - whatever was passed as a context
        return None


def _unit_attribute(rule: str, compiled: Compiled) -> str:
    named = parse_rollout_rule(rule)
    spec = compiled.resources.get(ResourceRef("rollout", named.rollout)) if named else None
    if spec is None:
        return "targeting_key"
    try:
        return msgspec.json.decode(spec, type=Unit).unit
    except msgspec.DecodeError:
        return "targeting_key"


def request_key(policy: Policy) -> RequestKey:
    """The labels under which a request of this policy is counted."""
    decision, worded, prompt = policy.provenance.get("model"), policy.provenance.get("prompt"), policy.prompt
    return RequestKey(
        policy.request_class,
        policy.model.model if policy.model else "",
        (decision.variant if decision else None) or "",
        "+".join(policy.safe_mode.profiles),
        f"{(worded and worded.variant) or ''}@{prompt.version}" if prompt else "",
    )
