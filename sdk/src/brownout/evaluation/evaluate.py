"""Deciding one flag. The SDK's client, OFREP, the playground and a commit's preview all come through here."""

from typing import TYPE_CHECKING, Any, TypeVar, cast

from brownout.context import NOTHING, Context, ambient, merged
from brownout.evaluation.decision import MISSING, Decision, Outcome
from brownout.evaluation.policy import Policy
from brownout.model.resources import FlagType

if TYPE_CHECKING:
    from brownout.evaluation.compile import Compiled

T = TypeVar("T")
Real = float
"""`float` itself, where a method takes the name."""


def evaluate(
    compiled: "Compiled",
    key: str,
    context: Context | None = None,
    *,
    default: T,
    type: FlagType | None = None,  # noqa: A002 - the flag's `type`
    service: str | None = None,
) -> Decision[T]:
    """The decision of flag `key` for `context`; never raises, and uses no clock.

    `type` None takes a flag of any type; another type than the flag's own gives TYPE_MISMATCH (an LLM type may
    be asked for as `object`). `service` None is the one that `compiled` was loaded for.
    """
    try:
        outcome = compiled.view(service).tables[type][key](NOTHING if context is None else context)
    except Exception:  # noqa: BLE001 - an unhashable key, a stack without room: a service must still get an answer
        outcome = compiled.failed
    outcome.count += 1
    if outcome.error is None:
        return cast("Decision[T]", outcome.decide(compiled.revision))
    return outcome.fail(key, default, compiled.revision)


def policy(
    compiled: "Compiled", request_class: str, context: Context | None = None, *, service: str | None = None
) -> Policy:
    """The policy of `request_class` for `context`; never raises. `service` None is the one `compiled` was made for.

    An unknown class gives a policy without a model and FLAG_NOT_FOUND (PROVIDER_NOT_READY: nothing is held yet); a bad context gives the policy of
    an empty one and INVALID_CONTEXT.
    """
    return compiled.policy(request_class, context, service=service)


class Evaluator:
    """The deciding half of every client: subclasses put a `Compiled` in `_compiled` and replace it at will.

    What `brownout.context` holds for the request is merged under each call's own context.

    The value methods repeat one body, each with its own table: a shared helper would double their cost
    (docs/adr/0010). `default` is what the caller gets when the flag cannot be decided.
    """

    _compiled: "Compiled"

    def boolean(self, key: str, context: Context = NOTHING, default: bool = False) -> bool:
        """The value of a flag of type boolean."""
        try:
            if around := ambient():
                context = merged(around, context)
            outcome = self._compiled.boolean[key](context)
        except Exception:  # noqa: BLE001
            outcome = self._compiled.failed
        outcome.count += 1
        value = outcome.value
        return self._defaulted(key, outcome, default) if value is MISSING else value  # type: ignore[return-value]

    def string(self, key: str, context: Context = NOTHING, default: str = "") -> str:
        """The value of a flag of type string."""
        try:
            if around := ambient():
                context = merged(around, context)
            outcome = self._compiled.string[key](context)
        except Exception:  # noqa: BLE001
            outcome = self._compiled.failed
        outcome.count += 1
        value = outcome.value
        return self._defaulted(key, outcome, default) if value is MISSING else value  # type: ignore[return-value]

    def integer(self, key: str, context: Context = NOTHING, default: int = 0) -> int:
        """The value of a flag of type integer."""
        try:
            if around := ambient():
                context = merged(around, context)
            outcome = self._compiled.integer[key](context)
        except Exception:  # noqa: BLE001
            outcome = self._compiled.failed
        outcome.count += 1
        value = outcome.value
        return self._defaulted(key, outcome, default) if value is MISSING else value  # type: ignore[return-value]

    def object(self, key: str, context: Context = NOTHING, default: T = None) -> dict[str, Any] | T:  # type: ignore[assignment]
        """The value of an `object` flag, or of an LLM flag as JSON; it cannot be changed, its copies can."""
        try:
            if around := ambient():
                context = merged(around, context)
            outcome = self._compiled.object[key](context)
        except Exception:  # noqa: BLE001
            outcome = self._compiled.failed
        outcome.count += 1
        value = outcome.value
        return self._defaulted(key, outcome, default) if value is MISSING else value  # type: ignore[return-value]

    def float(self, key: str, context: Context = NOTHING, default: Real = 0.0) -> Real:
        """The value of a flag of type float."""
        try:
            if around := ambient():
                context = merged(around, context)
            outcome = self._compiled.number[key](context)
        except Exception:  # noqa: BLE001
            outcome = self._compiled.failed
        outcome.count += 1
        value = outcome.value
        return self._defaulted(key, outcome, default) if value is MISSING else value  # type: ignore[return-value]

    def decide(self, key: str, context: Context = NOTHING, default: T = None) -> Decision[T]:  # type: ignore[assignment]
        """The value with its reason. The flag must be of `default`'s type; the default None takes any type."""
        compiled = self._compiled
        try:
            if around := ambient():
                context = merged(around, context)
            outcome = compiled.by_class[default.__class__][key](context)
        except Exception:  # noqa: BLE001
            outcome = compiled.failed
        outcome.count += 1
        decision = outcome.decision
        if decision.revision == compiled.revision:
            return decision  # type: ignore[return-value]
        if outcome.error is None:
            return outcome.decide(compiled.revision)  # type: ignore[return-value]
        self._defaulted(key, outcome, default)
        return outcome.fail(key, default, compiled.revision)

    def policy(self, request_class: str, context: Context = NOTHING) -> Policy:
        """What to do now with one request of this class; see brownout.policy.Policy."""
        if around := ambient():
            context = merged(around, context)
        return self._compiled.policy(request_class, context)

    def _defaulted(self, key: str, outcome: Outcome, default: T) -> T:  # noqa: ARG002 - for who wants to say so
        """Called when the caller gets the default; `outcome.error` says why."""
        return default
