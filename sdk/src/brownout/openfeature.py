"""Brownout as an OpenFeature provider (`pip install brownout[openfeature]`).

Register it once, when the application starts:

    from openfeature import api
    from brownout import Brownout
    from brownout.openfeature import BrownoutProvider

    api.set_provider(BrownoutProvider(Brownout.connect()))
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderFatalError, ProviderNotReadyError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata
from openfeature.track import TrackingEventDetails

from brownout.client import Brownout
from brownout.evaluation.decision import Decision
from brownout.status import State, Status, SyncState

if TYPE_CHECKING:
    from brownout.status import Change

T = TypeVar("T")

_EVENTS = {
    State.READY: ProviderEvent.PROVIDER_READY,
    State.STALE: ProviderEvent.PROVIDER_STALE,
    State.NOT_READY: ProviderEvent.PROVIDER_ERROR,
}


class BrownoutProvider(AbstractProvider):
    """Resolves flags by the client's local evaluation; the client's state becomes the provider's events.

    The provider takes the client over: shutting the provider down closes it. `ready_timeout_s` bounds how long
    `initialize` waits for a first configuration; with a disk copy or a bundle it does not need to. A control plane
    that has not vouched for the configuration that long afterwards makes the provider stale.
    """

    def __init__(self, client: Brownout, *, ready_timeout_s: float = 5.0) -> None:
        super().__init__()
        self._client = client
        self._ready_timeout_s = ready_timeout_s
        self._state: State | None = None
        self._ends: list[Callable[[], None]] = []
        self._patient: threading.Timer | None = None

    def get_metadata(self) -> Metadata:
        return Metadata(name="brownout")

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002
        """Waits for a first configuration.

        Raises:
            ProviderNotReadyError: there is nothing to answer from; it goes on trying all the same.
            ProviderFatalError: the provider was shut down, which closed its client.
        """
        if self._client.status.sync is SyncState.CLOSED:
            raise ProviderFatalError("this provider was shut down, which closed its client: register a new one")
        configured = self._client.wait_configured(self._ready_timeout_s)
        self._state = State.READY if configured else State.NOT_READY  # what OpenFeature takes it for from now on
        if configured:
            self._patient = threading.Timer(self._ready_timeout_s, self._lose_patience)
            self._patient.daemon = True
            self._patient.start()
        self._ends += [self._client.on_status(self._tell_status), self._client.on_change(self._tell_change)]
        if not configured:
            raise ProviderNotReadyError(self._why_nothing())

    def shutdown(self) -> None:
        while self._ends:
            self._ends.pop()()
        if self._patient:
            self._patient.cancel()
        self._client.close()

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        return self._resolve(flag_key, default_value, evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        return self._resolve(flag_key, default_value, evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        return self._resolve(flag_key, default_value, evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        return self._resolve(flag_key, float(default_value), evaluation_context)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        return self._resolve(flag_key, default_value, evaluation_context)

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        details = tracking_event_details or TrackingEventDetails()
        value = 1.0 if details.value is None else details.value
        self._client.track(tracking_event_name, value, details.attributes, context=_context(evaluation_context))

    def _resolve(self, key: str, default: T, context: EvaluationContext | None) -> FlagResolutionDetails[T]:
        decision = self._client.decide(key, _context(context), default)
        if decision.error_code and self._client.status.state is State.NOT_READY:
            return FlagResolutionDetails(
                default, ErrorCode.PROVIDER_NOT_READY, self._why_nothing(), reason=Reason.ERROR
            )
        return _details(decision)

    def _why_nothing(self) -> str:
        cause = self._client.status.last_error
        return f"no configuration yet: {cause or 'NATS has not answered and there is no copy on disk'}"

    def _lose_patience(self) -> None:
        self._patient = None
        self._tell_status(self._client.status)

    def _tell_status(self, status: Status) -> None:
        if self._patient and status.state is State.STALE:
            return  # a first heartbeat takes a few seconds
        self._patient = None
        if status.state is not self._state:
            self._state = status.state
            self.emit(_EVENTS[status.state], ProviderEventDetails(message=status.last_error or None))

    def _tell_change(self, change: "Change") -> None:
        flags = sorted(resource.key for resource in change.resources if resource.kind == "flag")
        self.emit_provider_configuration_changed(
            ProviderEventDetails(flags_changed=flags or None, metadata={"revision": change.revision})
        )


def _context(context: EvaluationContext | None) -> dict[str, Any]:
    if context is None:
        return {}
    attributes = dict(context.attributes)
    if context.targeting_key is not None:
        attributes["targeting_key"] = context.targeting_key
    return attributes


def _details(decision: Decision[T]) -> FlagResolutionDetails[T]:
    """OpenFeature's flag metadata is flat: the rule and the revision stand beside what safe mode did."""
    metadata = {**decision.metadata, "revision": decision.revision}
    if decision.rule is not None:
        metadata["rule"] = decision.rule
    return FlagResolutionDetails(
        decision.value,
        ErrorCode(decision.error_code.value) if decision.error_code else None,
        f"{decision.error_code.value.lower().replace('_', ' ')}: {decision.flag}" if decision.error_code else None,
        Reason(decision.reason.value),
        decision.variant,
        metadata,
    )
