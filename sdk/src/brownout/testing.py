"""A client for your tests that you fill by hand: no server, no threads, the real evaluator.

    from brownout.testing import FakeBrownout


    def test_pro_users_get_web_search():
        client = FakeBrownout({"web-search": True})
        assert answer("…", client).used_web_search
        assert client.asked("web-search")

With pytest installed, the fixture `fake_brownout` gives each test a fresh one.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from brownout.client import Brownout
from brownout.context import NOTHING, Context, ambient, merged
from brownout.evaluation.compile import Compiled
from brownout.evaluation.decision import Decision
from brownout.evaluation.evaluate import evaluate
from brownout.evaluation.policy import Policy
from brownout.model.parse import encode, parse
from brownout.model.resources import VALUE_TYPES, FlagType, ResourceRef
from brownout.status import Change, Counters, Source, State, Status, SyncState
from brownout.wire import Operation

__all__ = ["Asked", "FakeBrownout"]

T = TypeVar("T")

_TYPES: tuple[FlagType, ...] = tuple(VALUE_TYPES)


class Asked(NamedTuple):
    """One question and its answer. `context` is what the evaluation saw."""

    key: str
    context: Mapping[str, Any]
    answer: Decision[Any] | Policy


class FakeBrownout(Brownout):
    """A Brownout whose flags and policies are what the test says. Every question is kept in `questions`."""

    def __init__(
        self,
        flags: Mapping[str, object] | None = None,
        policies: Mapping[str, Policy] | None = None,
        *,
        service: str = "tests",
    ) -> None:
        super().__init__(Compiled.load("tests", 0, {}, service=service))
        self.questions: list[Asked] = []
        self.state = State.READY
        """What `status` says, `wait_ready` and `wait_configured` go by; set it to test your service without Brownout."""
        self._policies = dict(policies or {})
        self._changed: list[Callable[[Change], None]] = []
        self._told: list[Callable[[Status], None]] = []
        for key, value in (flags or {}).items():
            self.set_flag(key, value)

    @property
    def _fleet(self) -> int | None:
        return None

    def set_flag(self, key: str, value: object) -> None:
        """From now on `key` serves `value` to everyone. Its type is the value's, e.g. boolean or model_route.

        Raises:
            InvalidResource: there is no such flag type, or no such key.
        """
        kind = next((name for name in _TYPES if type(value) is VALUE_TYPES[name]), "object")
        spec = {"type": kind, "enabled": True, "variants": {"set": value}, "off_variant": "set", "default": "set"}
        self.put("flag", key, msgspec.to_builtins(spec))

    def put(self, kind: str, key: str, spec: Mapping[str, Any] | str | bytes) -> None:
        """Any resource as `brownout export` writes it: a flag with rules, a cohort, a safe-mode activation.

        Raises:
            InvalidResource: the spec has a fault.
        """
        self._apply(Operation("put", kind, key, msgspec.Raw(encode(parse(kind, key, spec)))))

    def delete(self, kind: str, key: str) -> None:
        """Deletes a resource, as a commit does."""
        self._apply(Operation("del", kind, key))

    def set_policy(self, request_class: str, policy: Policy) -> None:
        """From now on this is the answer for `request_class`, whatever the flags say."""
        self._policies[request_class] = policy

    def asked(self, key: str) -> list[Asked]:
        """The questions about one flag or request class."""
        return [question for question in self.questions if question.key == key]

    def boolean(self, key: str, context: Context = NOTHING, default: bool = False) -> bool:
        return self._ask("boolean", key, context, default)

    def string(self, key: str, context: Context = NOTHING, default: str = "") -> str:
        return self._ask("string", key, context, default)

    def integer(self, key: str, context: Context = NOTHING, default: int = 0) -> int:
        return self._ask("integer", key, context, default)

    def object(self, key: str, context: Context = NOTHING, default: T = None) -> dict[str, Any] | T:  # type: ignore[assignment]
        return self._ask("object", key, context, default)

    def float(self, key: str, context: Context = NOTHING, default: Any = 0.0) -> Any:
        return self._ask("float", key, context, default)

    def decide(self, key: str, context: Context = NOTHING, default: T = None) -> Decision[T]:  # type: ignore[assignment]
        return self._note(key, context, super().decide(key, context, default))

    def policy(self, request_class: str, context: Context = NOTHING, default: Policy | None = None) -> Policy:
        found = self._policies.get(request_class) or super().policy(request_class, context, default)
        return self._note(request_class, context, found)

    @property
    def status(self) -> Status:
        return Status(
            state=self.state,
            sync=SyncState.OFFLINE,
            source=Source.BUNDLE,
            environment=self._compiled.environment,
            service=self._compiled.service,
            instance="tests",
            revision=self._compiled.revision,
            epoch=1,
            age_s=0.0,
            last_error="",
            counters=Counters(),
        )

    def wait_ready(self, timeout_s: Any = None) -> bool:  # noqa: ARG002
        return self.state is State.READY

    def wait_configured(self, timeout_s: Any = None) -> bool:  # noqa: ARG002
        return self.state is not State.NOT_READY

    def on_change(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Called at once by `set_flag`, `put` and `delete`, in the test's own thread."""
        self._changed.append(callback)
        return lambda: self._changed.remove(callback)

    def on_status(self, callback: Callable[[Status], None]) -> Callable[[], None]:
        self._told.append(callback)
        return lambda: self._told.remove(callback)

    def close(self, timeout_s: Any = 0.0) -> None:
        """There is nothing to close."""

    def _apply(self, operation: Operation) -> None:
        revision = self._compiled.revision + 1
        self._compiled.apply([operation], revision)
        change = Change(revision, "commit", frozenset([ResourceRef(operation.kind, operation.key)]))
        for callback in list(self._changed):
            callback(change)

    def _ask(self, wanted: FlagType, key: str, context: Context, default: T) -> T:
        seen = merged(ambient(), context)
        return self._note(key, context, evaluate(self._compiled, key, seen, default=default, type=wanted)).value

    def _note(self, key: str, context: Context, answer: T) -> T:
        seen = merged(ambient(), context)
        self.questions.append(Asked(key, seen, cast("Decision[Any] | Policy", answer)))
        return answer
