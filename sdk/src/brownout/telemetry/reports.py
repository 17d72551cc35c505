"""The client's side of telemetry: its requests and evaluations under their labels, and when they are sent."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from brownout.context import Context
from brownout.evaluation.attributes import dotted, unit
from brownout.evaluation.compile import Compiled
from brownout.evaluation.counts import Counts
from brownout.evaluation.decision import Outcome
from brownout.evaluation.policy import Policy
from brownout.telemetry.counters import INTERVAL_S, Exposure, Telemetry
from brownout.telemetry.requests import Report, label
from brownout.telemetry.tracing import Tracer
from brownout.telemetry.watched import Watch, Watches
from brownout.wire.telemetry import EvaluationKey, RequestKey, parse_rollout_rule

Recorder = Callable[[Policy, RequestKey, Report], None]
"""Told of every recorded request, e.g. to export it elsewhere; see brownout.otel."""

EARLY_S = 2.0
"""How often a message is sent while calls to models go wrong."""

_REPEAT_S = 3600.0
"""A message is sent this often even when nothing was counted, so that the control plane remembers this instance."""


class Reports:
    """What one client (brownout.recording) has to tell. `recorders` are told of each request too."""

    def __init__(self, recorders: list[Recorder], tracer: Tracer | None = None) -> None:
        self.recorders = recorders
        self.tracer = tracer
        self._telemetry = Telemetry()
        self._sent_at = time.monotonic()
        self._said_at = 0.0
        self._watched: tuple[Compiled | None, int, Watches] = (None, 0, Watches())

    def record(
        self, policy: Policy, outcome: object, drill: str, error_class: str | None, *said: Any, **more: Any
    ) -> None:
        """`said` and `more` are the other fields of a Report. Never raises, whatever a service passes."""
        try:
            if outcome == "error" and error_class is None:
                error_class = "server_error"
            report, key = _obeying(policy, Report(error_class, *said, **more)), request_key(policy, drill)
            exposures = [] if drill else self._exposures(policy)
            self._telemetry.record(key, report, exposures)
            for recorder in self.recorders:
                recorder(policy, key, report)
        except Exception:  # noqa: BLE001 - telemetry must never cost an answer
            self._telemetry.drop()

    def _exposures(self, policy: Policy) -> list[Exposure]:
        own = [Exposure(rule, variant, policy.unit) for rule, variant in policy.exposures] if policy.unit else []
        return own + [seen for one in policy.beside if self._telemetry.exposed(seen := Exposure(*one))]

    def score(self, policy: Policy, quality: float) -> None:
        """Never raises, whatever a service passes."""
        try:
            self._telemetry.score(request_key(policy), quality, self._exposures(policy))
        except Exception:  # noqa: BLE001 - telemetry must never cost an answer
            self._telemetry.drop()

    def track(
        self, name: str, value: float, attributes: Mapping[str, object] | None, context: Context, compiled: Compiled
    ) -> None:
        """Counts the metric, and the event for each rollout that compares it and decides for `context`."""
        self._telemetry.track(name, value, attributes)
        try:
            for watch in self._watches(compiled).of_events.get(name, ()):
                exposure = _assigned(watch, context, compiled)
                if exposure is not None:
                    self._telemetry.observe([exposure], watch.outcome(name, float(value)))
        except Exception:  # noqa: BLE001 - whatever was passed as a context, a name or a value
            self._telemetry.drop()

    def expose(self, outcome: Outcome, context: Context, compiled: Compiled) -> None:
        """A flag was decided by one of its rules. Never raises."""
        try:
            named = parse_rollout_rule(outcome.rule or "")
            watch = self._watches(compiled).by_rollout.get(named.rollout) if named else None
            exposure = _exposure(watch, outcome, context) if watch and watch.running else None
            if exposure is not None:
                self._telemetry.observe([exposure])
        except Exception:  # noqa: BLE001 - whatever was passed as a context
            self._telemetry.drop()

    def unit_of(self, policy: Policy, context: Context, compiled: Compiled) -> str | None:
        """The value that the (first) rollout's split hashed."""
        return unit_of(policy, context, self._watches(compiled))

    def beside(self, policy: Policy, context: Context, compiled: Compiled) -> tuple[Exposure, ...]:
        """What rollouts of flags that are no part of `policy` chose for `context`, where they compare requests."""
        watches = self._watches(compiled).of_requests
        if not watches:
            return ()
        governing = {decision.flag for decision in policy.provenance.values()}
        found = (_assigned(watch, context, compiled) for watch in watches if watch.flag not in governing)
        return tuple(exposure for exposure in found if exposure is not None)

    def _watches(self, compiled: Compiled) -> Watches:
        """Of the configuration as it is: read again after each commit."""
        of, revision, watches = self._watched
        if of is not compiled or revision != compiled.revision:
            revision = compiled.revision
            watches = Watches.read(compiled.of_kind("rollout"))
            self._watched = compiled, revision, watches
        return watches

    def collect(self, drain: Callable[[], Counts], who: Callable[[], tuple[str, str]], final: bool) -> bytes | None:
        """The message that is due, if one is and has something to say."""
        now = time.monotonic()
        if not final and now - self._sent_at < (EARLY_S if self._telemetry.alarming else INTERVAL_S * 0.9):
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


def unit_of(policy: Policy, context: Context, watches: Watches) -> str | None:
    """The value that the split of the policy's (first) rollout hashed."""
    named = parse_rollout_rule(policy.exposures[0][0])
    watch = watches.by_rollout.get(named.rollout) if named else None
    return _unit(watch.unit if watch else "targeting_key", context)


def _assigned(watch: Watch, context: Context, compiled: Compiled) -> Exposure | None:
    """What the rollout gives `context`; None when it decides nothing for it."""
    outcome = compiled.view(None).unseen[watch.flag](context)
    named = parse_rollout_rule(outcome.rule) if outcome.rule else None
    return _exposure(watch, outcome, context) if named is not None and named.rollout == watch.rollout else None


def _exposure(watch: Watch, outcome: Outcome, context: Context) -> Exposure | None:
    unit = _unit(watch.unit, context)
    if outcome.rule is None or outcome.variant is None or unit is None:
        return None
    return Exposure(outcome.rule, outcome.variant, unit)


def _unit(attribute: str, context: Context) -> str | None:
    try:
        return unit(dotted(context, attribute, tuple(attribute.split("."))))
    except Exception:  # noqa: BLE001 - whatever was passed as a context
        return None


def _obeying(policy: Policy, report: Report) -> Report:
    """With what the policy says itself: a request that it turned away was turned away, unless something answered."""
    turned_away = report.rung is None and report.answered_by is None and not report.attempts
    return report._replace(
        assigned=policy.model.name if policy.model else None,
        stopped=report.stopped or (turned_away and policy.stop),
        shed=report.shed or (turned_away and policy.shed and not policy.stop),
    )


def request_key(policy: Policy, drill: str = "") -> RequestKey:
    """The labels under which a request of this policy is counted."""
    decision, worded, prompt = policy.provenance.get("model"), policy.provenance.get("prompt"), policy.prompt
    return RequestKey(
        policy.request_class,
        policy.model.model if policy.model else "",
        (decision.variant if decision else None) or "",
        "+".join(policy.safe_mode.profiles),
        drill and label(drill),
        f"{(worded and worded.variant) or ''}@{prompt.version}" if prompt else "",
    )
