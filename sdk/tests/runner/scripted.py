"""A golden trace as a script: callables, tools and stores that do at each instant what the trace says happened."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from brownout.evaluation.policy import Policy, PolicyPrompt
from brownout.model.values import PromptMessage
from brownout.runner.cache import Cached
from brownout.runner.calls import Call, Failed, Output, Text, ToolCall
from brownout.runner.core import Core
from brownout.runner.health import Health
from brownout.runner.moves import (
    Answered,
    AnyAction,
    AnyEvent,
    Attempt,
    Cancelled,
    Delivered,
    Denied,
    EffectRan,
    Failure,
    Finish,
    Missed,
    NotAdmitted,
    Suspended,
)
from brownout.runner.people import Ticket
from brownout.runner.request import Request
from brownout.testing import FakeBrownout
from sdk.conformance.traces import Step, Trace, policy


class Over(BaseException):
    """The trace ends before the request does."""


class Script:
    """Follows a trace: `due` is what happens next, and `step` checks that it did, and what it led to."""

    def __init__(self, trace: Trace, advance_to: Callable[[float], None]) -> None:
        self.trace, self.at = trace, 0
        self.over = False
        self.advance_to = advance_to
        self.client = FakeBrownout(policies={"reply": self._policy()})

    @property
    def due(self) -> AnyEvent:
        if self.at >= len(self.trace.steps):
            raise Over
        return self.trace.steps[self.at].event

    @property
    def given(self) -> dict[str, Any]:
        facts = self.trace.facts
        return {
            "question": "?", "validate": lambda text: text == "good", "resets": facts.resets,
            "evidence": None if facts.sources is None else ("source",) * facts.sources,
        }  # fmt: skip

    def build(self, kind: type[Core], **parts: Any) -> Any:
        core = kind(self.client, cache=_Cache(self, parts.pop("sleep")), tenant=None, chance=lambda: 0.0, **parts)
        core.health = _Health(self)
        core.calls.restart = {"a", "b"} - self.trace.facts.resumes
        return core

    def step(self, event: AnyEvent, action: AnyAction) -> None:
        golden: Step = self.trace.steps[self.at]
        assert type(event) is type(golden.event), f"step {self.at}: {event} for {golden.event}"
        assert event.now_s == pytest.approx(golden.event.now_s), f"step {self.at}: {event} for {golden.event}"
        assert _rounded(action) == _rounded(golden.action), f"step {self.at}, {golden.event}"
        self.at += 1
        if self.at == len(self.trace.steps) and not isinstance(action, Finish):
            self.over = True
            raise Over

    def answer(self) -> Output:
        """What the model says at the instant that is due; raises what it raises."""
        event = self.due
        if isinstance(event, Failure):
            reason = "unsupported" if event.unsupported else None
            raise Failed(event.error, retry_after_s=event.retry_after_s, reason=reason)  # type: ignore[arg-type]
        assert isinstance(event, Answered), event
        if event.finish == "tool_calls":
            return Output("", finish="tool_calls", tools=(ToolCall("act", {"n": self.at}),))
        text = {"": "good", "empty": " ", "invalid": "bad"}[event.problem]
        return Output(text, finish=event.finish)

    def tool(self) -> str:
        event = self.due
        if isinstance(event, Failure):
            raise ConnectionError("the tool broke")
        return "done"

    @property
    def effect(self) -> bool:
        return isinstance(self.due, EffectRan)

    @property
    def idempotent(self) -> bool:
        coming = next((each.event for each in self.trace.steps[self.at :] if isinstance(each.event, Failure)), None)
        return coming is not None and coming.idempotent

    def _policy(self) -> Policy:
        made = policy(self.trace.policy)
        if self.trace.facts.unready:
            lacking = PolicyPrompt((PromptMessage("system", "{product}"),), ("product",))
            return msgspec.structs.replace(made, prompt=lacking)
        if any(isinstance(each.event, Suspended) for each in self.trace.steps):
            tools = msgspec.structs.replace(made.tools, require_approval=("act",))
            return msgspec.structs.replace(made, tools=tools)
        return made


class _Health(Health):
    """Open, but where the trace says that it is not."""

    def __init__(self, script: Script) -> None:
        super().__init__(lambda: 0.0, lambda: 0.0)
        self._script = script

    def admit(self, *arguments: Any, **more: Any) -> Any:
        due = self._script.due
        if isinstance(due, NotAdmitted):
            self._script.advance_to(due.now_s)
            return due.error
        return super().admit(*arguments, **more)

    def retry(self, *_: Any) -> bool:
        return not isinstance(self._script.due, Denied)

    def tokens(self, *_: Any) -> int:
        return self._script.trace.facts.input_tokens or 0


class _Cache:
    def __init__(self, script: Script, sleep: Any) -> None:
        self._script = script
        self.get = _waiting(script, sleep, self._get)

    def _get(self, _: str) -> Cached | None:
        return None if isinstance(self._script.due, Missed) else Cached("cached", 0.0)

    blocks = False

    def put(self, *_: Any) -> None:
        """Nothing is asked for again."""


def people(script: Script, sleep: Any) -> Any:
    def take(_: Ticket) -> None:
        if isinstance(script.due, Missed):
            raise ConnectionError

    return _waiting(script, sleep, take)


def _waiting(script: Script, sleep: Any, function: Callable[..., Any]) -> Any:
    """`function` at the instant that is due; async where `sleep` is."""
    if sleep.asynchronous:

        async def later(*arguments: Any) -> Any:
            await sleep(script.due.now_s)
            return function(*arguments)

        return later

    def now(*arguments: Any) -> Any:
        sleep(script.due.now_s)
        return function(*arguments)

    return now


def plain_call(script: Script, sleep: Callable[[float], None]) -> Callable[..., Iterator[Any]]:
    def ask(call: Call, question: str) -> Iterator[Any]:
        action = script.trace.steps[script.at - 1].action
        assert isinstance(action, Attempt)
        assert (call.target, question) == (action.target, "?")
        while isinstance(script.due, Delivered):
            sleep(script.due.now_s)
            yield Text("some ")
        sleep(script.due.now_s)
        if isinstance(script.due, Cancelled):
            raise KeyboardInterrupt
        yield script.answer()

    return ask


def async_call(script: Script, sleep: Any) -> Callable[..., AsyncIterator[Any]]:
    async def ask(call: Call, question: str) -> AsyncIterator[Any]:
        action = script.trace.steps[script.at - 1].action
        assert isinstance(action, Attempt)
        assert (call.target, question) == (action.target, "?")
        while isinstance(script.due, Delivered):
            before = script.at
            await sleep(script.due.now_s)
            yield Text("some ")
            while script.at == before:
                await sleep(0.0)
        if isinstance(script.due, Cancelled):
            await sleep(1e6)
        await sleep(script.due.now_s)
        yield script.answer()

    return ask


def follow(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    """Checks every step that a request takes against the trace."""
    original = Request.step

    def step(self: Request, event: AnyEvent) -> AnyAction:
        action = original(self, event)
        if not script.over:
            script.step(event, action)
        return action

    monkeypatch.setattr(Request, "step", step)


def _rounded(action: AnyAction) -> Any:
    said = {"action": type(action), **msgspec.structs.asdict(action)}
    return {name: round(each, 6) if isinstance(each, float) else each for name, each in said.items()}
