"""One call to one model through the OpenAI client: streaming, tools, errors in Brownout's own words."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import openai

from brownout.evaluation.policy import PolicyTarget
from brownout.model.values import ErrorClass, ToolPolicy

TOOLS: Mapping[str, Callable[[], str]] = {
    "orders.read": lambda: "order 4711 left our warehouse this morning",
    "kb.search": lambda: "see the help page on addresses",
    "refund.create": lambda: "refund created",
}
"""What the copilot could do, by the names that tool policies use."""

TIMEOUT_S = 5.0


class Completion(NamedTuple):
    text: str
    refused: bool
    input_tokens: int
    output_tokens: int
    first_token_ms: float | None


class ModelError(Exception):
    """A call failed; `started` says whether the customer had seen anything yet."""

    def __init__(self, error: ErrorClass, *, started: bool) -> None:
        super().__init__(error)
        self.error = error
        self.started = started


class ModelCaller:
    """`complete` asks a model, lets it use the tools that the policy allows, and returns its answer."""

    def __init__(self, base_url: str) -> None:
        self._client = openai.OpenAI(base_url=f"{base_url}/v1", api_key="stub", max_retries=0, timeout=TIMEOUT_S)

    def complete(self, target: PolicyTarget, question: str, tools: ToolPolicy, max_tokens: int | None) -> Completion:
        """Raises ModelError."""
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "You help customers of a shop."},
            {"role": "user", "content": question},
        ]
        allowed = {name for name in TOOLS if tools.allows(name) and not tools.needs_approval(name)}
        for calls_left in range(tools.max_calls if tools.max_calls is not None else 3, -1, -1):
            turn = self._stream(target, messages, allowed if calls_left else set(), max_tokens)
            if not turn.tool_calls:
                return turn.completion
            messages.append({"role": "assistant", "content": None, "tool_calls": turn.tool_calls})
            for call in turn.tool_calls:
                result = TOOLS[call["function"]["name"].replace("_", ".")]()
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        raise ModelError("tool_error", started=False)

    def _stream(
        self, target: PolicyTarget, messages: list[dict[str, Any]], tools: set[str], max_tokens: int | None
    ) -> "_Turn":
        turn = _Turn()
        options: dict[str, Any] = {"temperature": target.params.temperature, "max_tokens": max_tokens}
        if tools:
            options["tools"] = [
                {"type": "function", "function": {"name": name.replace(".", "_")}} for name in sorted(tools)
            ]
        try:
            stream = self._client.chat.completions.create(
                model=target.model,
                messages=messages,  # type: ignore[arg-type]
                stream=True,
                **{name: value for name, value in options.items() if value is not None},
            )
            for chunk in stream:
                turn.take(chunk)
        except openai.APIError as error:
            raise ModelError(_error_class(error), started=turn.started) from error
        return turn


class _Turn:
    def __init__(self) -> None:
        self.tool_calls: list[dict[str, Any]] = []
        self._began = time.monotonic()
        self._first_ms: float | None = None
        self._text: list[str] = []
        self._refused = False
        self._tokens = (0, 0)

    @property
    def started(self) -> bool:
        return bool(self._text)

    @property
    def completion(self) -> Completion:
        return Completion("".join(self._text).strip(), self._refused, *self._tokens, self._first_ms)

    def take(self, chunk: Any) -> None:
        if chunk.usage is not None:
            self._tokens = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or ():
                self.tool_calls.append(json.loads(call.model_dump_json(exclude={"index"})))
            said = choice.delta.content or choice.delta.refusal
            if said:
                self._refused = self._refused or bool(choice.delta.refusal)
                self._first_ms = self._first_ms or (time.monotonic() - self._began) * 1000
                self._text.append(said)


def _error_class(error: openai.APIError) -> ErrorClass:
    if isinstance(error, openai.APITimeoutError):
        return "timeout"
    if isinstance(error, openai.RateLimitError):
        return "rate_limited"
    if isinstance(error, openai.AuthenticationError):
        return "auth"
    if isinstance(error, openai.BadRequestError):
        return "context_window"
    return "overloaded" if isinstance(error, openai.APIConnectionError) else "server_error"
