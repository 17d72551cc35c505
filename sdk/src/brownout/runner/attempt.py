"""One attempt at one target: what arrives, and when it has waited long enough."""

from collections.abc import Generator
from typing import Any

from brownout.evaluation.policy import PolicyTarget
from brownout.model.values import ErrorClass
from brownout.runner.calls import Failed, Output, Text, ToolCall
from brownout.runner.classify import classify
from brownout.runner.commands import Broke, Channel, Command, Emit, Ended, Next, Open
from brownout.runner.health import Permit
from brownout.runner.moves import Answered, AnyAction, Attempt, Delivered, Failure, NotAdmitted
from brownout.runner.request import LONGEST_ATTEMPT_S, UNTRACED, Request, log
from brownout.telemetry.attempted import Attempted


def attempt(request: Request, action: Attempt) -> Generator[Command, Any, AnyAction]:
    """Calls the model, unless its target is closed, and returns what the ladder says of how that went."""
    core, target = request.core, request.state.target(action.rung)
    assert target is not None
    request.emitted = False
    if request.pending is not None:  # resumed: this answer was given before a person was asked
        request.output, request.pending = request.pending, None
        return request.step(Answered(request.now(), "tool_calls"))
    function = core.calls.get(target.provider)
    if function is None:
        log.error("%s: there is no callable for the provider %r", request.policy.request_class, target.provider)
        return request.step(NotAdmitted(request.now(), "auth"))
    if not request.spending.reserve(target):
        return request.step(Failure(request.now(), "budget_exhausted", ours=True))
    permit = core.health.admit(
        request.policy, target, request.now(), tokens=request.state.facts.input_tokens or 0, spare=action.spare,
        again=action.purpose == "retry",
    )  # fmt: skip
    if not isinstance(permit, Permit):
        request.spending.settle(target, None)
        return request.step(NotAdmitted(request.now(), permit))
    watch = _Watch(request, action, target, permit)
    span = request.span.attempt(target) if request.span else None
    try:
        # drivers start the call at once, in a copy of the context: the provider's own span is a child of this one
        with span.current() if span else UNTRACED:
            call = request.call(action, target, watch.timeout_s)
            channel = yield Open(function, call, request.arguments, request.given)
        try:
            found = yield from watch.read(channel)
        finally:
            channel.close()
    except BaseException:
        permit.cancel()
        request.spending.settle(target, None, sent=True)
        if span:
            span.end(None)
        raise
    event = watch.judge(found)
    watch.note(event, found)
    if span:
        span.end(request.attempts[-1])
    return request.step(event)


class _Watch:
    """The limits of one attempt: the first content, each silence after it, and the whole."""

    def __init__(self, request: Request, action: Attempt, target: PolicyTarget, permit: Permit) -> None:
        self._request, self._action, self._target, self._permit = request, action, target, permit
        self._began = self._heard = request.now()
        limit_ms, stall_ms = target.first_token_ms, target.stall_ms
        self._first_s = permit.first_token_s if limit_ms is None else limit_ms / 1000
        self._stall_s = self._first_s if stall_ms is None else stall_ms / 1000
        self.timeout_s = LONGEST_ATTEMPT_S if action.timeout_s is None else action.timeout_s
        self._content_at: float | None = None
        self._texts: list[str] = []
        self._tools: list[ToolCall] = []
        self._hung = False

    def read(self, channel: Channel) -> Generator[Command, Any, Output | Failed]:
        request, texts = self._request, self._texts
        while True:
            item = yield Next(channel, self._left_s())
            self._heard = now = request.now()
            if isinstance(item, Text):
                if not item.text:
                    continue
                if self._content_at is None:
                    self._content_at = now
                texts.append(item.text)
                if request.streams:
                    if not request.emitted:
                        request.emitted = True
                        request.step(Delivered(now))
                    yield Emit(item)
            elif isinstance(item, ToolCall):
                self._content_at = self._content_at or now
                self._tools.append(item)
            elif isinstance(item, Ended):
                self._content_at = self._content_at or now
                return self._whole(item.result)
            elif isinstance(item, Broke):
                return classify(item.error)
            else:
                return Failed("timeout", "no content in time" if self._content_at is None else "the stream stalled")

    def judge(self, found: Output | Failed) -> Answered | Failure:
        """What happened, in the ladder's words."""
        request = self._request
        now, said = request.now(), "".join(self._texts)
        if isinstance(found, Failed):
            request.output = Output(said)
            return Failure(
                now, found.error_class, None if found.reason == "ramp" else found.retry_after_s, request.core.chance(),
                unsupported=found.reason == "unsupported",
            )  # fmt: skip
        request.output = found
        if found.finish in {"refusal", "content_filter"}:
            return Answered(now, found.finish)
        if found.finish == "length":
            request.feedback = "The answer was cut off at its limit. Give a shorter one."
            return Answered(now, "length")
        if found.tools:
            return Answered(now, "tool_calls")
        if not found.text.strip():
            request.feedback = "The answer was empty."
            return Answered(now, "stop", "empty")
        request.feedback = _fault(request, found.text)
        return Answered(now, "stop", "invalid" if request.feedback else "")

    def note(self, event: Answered | Failure, found: Output | Failed) -> None:
        """Tells the target's health how it went, and the reply what was tried."""
        request, permit, target = self._request, self._permit, self._target
        first_s = None if self._content_at is None else self._content_at - self._began
        usage = found.usage if isinstance(found, Output) else None
        sent = isinstance(found, Output) or first_s is not None or found.error_class == "timeout"
        request.spending.settle(target, usage, sent=sent)
        if isinstance(found, Failed):
            permit.failed(request.now(), found, hung=self._hung)
        else:
            characters = request.characters if found.usage else 0
            permit.succeeded(request.now(), first_s, found.headers, characters, found.usage)
        if first_s is not None and request.first_token_ms is None:
            request.first_token_ms = (self._content_at or 0.0) * 1000 - request.began_at * 1000
        error = event.error if isinstance(event, Failure) else _error_of(event)
        request.attempts.append(
            Attempted(
                target.name, target.provider, target.model, self._action.purpose, error,
                str(found) if isinstance(found, Failed) else request.feedback or "",
                (request.now() - self._began) * 1000, None if first_s is None else first_s * 1000,
                found.usage if isinstance(found, Output) else None,
            )
        )  # fmt: skip

    def _left_s(self) -> float:
        """Also remembers whose limit comes first: only a target's own says something of the target."""
        own = self._began + self._first_s if self._content_at is None else self._heard + self._stall_s
        ends = self._began + self.timeout_s
        self._hung = own <= ends
        return max(0.0, min(own, ends) - self._request.now())

    def _whole(self, result: Any) -> Output | Failed:
        said, tools = "".join(self._texts), tuple(self._tools)
        if isinstance(result, Output):
            return Output(
                result.text or said, result.usage, result.finish, result.tools or tools, result.headers, result.quality
            )
        if isinstance(result, str) or result is None:
            return Output(said if result is None else result, finish="tool_calls" if tools else "stop", tools=tools)
        return Failed("bad_request", f"a callable returns an Output or a text, not {type(result).__name__}")


def _error_of(event: Answered) -> ErrorClass | None:
    if event.finish == "refusal":
        return "refusal"
    if event.finish == "content_filter":
        return "content_filter"
    return "format_error" if event.problem or event.finish == "length" else None


def _fault(request: Request, text: str) -> str | None:
    """What the validator says is wrong with an answer."""
    validate = request.options.validate
    if validate is None:
        return None
    try:
        said = validate(text)
    except Exception as error:  # noqa: BLE001 - validators raise their libraries' own errors
        return str(error)[:2_000] or type(error).__name__
    if said is False:
        return "The answer does not have the expected form."
    return said if isinstance(said, str) and said else None
