"""What one attempt is given and what it returns: the contract between the runner and whoever calls a provider."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from brownout.model.values import ErrorClass

Finish = Literal["stop", "length", "tool_calls", "refusal", "content_filter"]
Reason = Literal["ramp", "unsupported", "gateway"]
"""What the runner must know beyond the class: the rate of requests grew too fast (`rate_limited`), only this target
cannot take the request (`bad_request`), or a gateway gave up and not we (`timeout`)."""
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class ToolCall(msgspec.Struct, frozen=True):
    """A tool that the model wants run."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""
    """The provider's own name for this call; answers refer to it. Never a key for idempotency: models mint new ones."""


class Turn(msgspec.Struct, frozen=True):
    """A turn of the model that is over: what it said, the tools that it asked for, and what each of them returned."""

    text: str
    tools: tuple[ToolCall, ...]
    results: tuple[Any, ...]


class Call(msgspec.Struct, frozen=True):
    """One attempt at one target, as its callable gets it."""

    target: str
    provider: str
    model: str
    params: Mapping[str, Any]
    """What the policy says of sampling: `temperature`, `max_output_tokens`, …, already tightened by safe mode."""
    timeout_s: float
    """What is left for this attempt, of its own limit and of the request's deadline."""
    max_output_tokens: int | None = None
    tools: Any = None
    """The policy's `ToolPolicy`, or None where every tool may be used."""
    feedback: str | None = None
    """What the validator said of the answer before, when this attempt repeats it."""
    prompt_version: str = ""
    """The version of the policy's prompt, which is already in `messages`; empty without one."""
    turns: tuple[Turn, ...] = ()
    """What came after the messages in this request, whichever model said it: the model goes on from there."""


class Text(msgspec.Struct, frozen=True):
    """A piece of content, as it arrives. Keep-alives and role-only deltas are not content."""

    text: str


class Output(msgspec.Struct, frozen=True):
    """A whole answer. A callable that streams yields `Text` and `ToolCall`, and an `Output` last."""

    text: str
    usage: tuple[int, int] | None = None
    """Tokens of the prompt and of the completion, as the provider counted them."""
    finish: Finish = "stop"
    tools: tuple[ToolCall, ...] = ()
    headers: Mapping[str, str] = NO_HEADERS
    """The response's headers, lower-case: the rate gate reads its limits from them."""
    quality: float | None = None
    """How good the answer is, where the callable knows: what `client.record` calls `quality`."""


class Failed(Exception):  # noqa: N818 - it is what users raise, and reads as a sentence
    """An attempt that failed, in the words of the policy. Callables raise it, or their client's own exception."""

    def __init__(
        self, error_class: ErrorClass, message: str = "", *,
        retry_after_s: float | None = None, headers: Mapping[str, str] = NO_HEADERS, reason: Reason | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message or error_class)
        self.error_class: ErrorClass = error_class
        self.retry_after_s = retry_after_s
        self.headers = headers
        self.reason: Reason | None = reason
