"""Anthropic's Messages API."""

import inspect
from collections.abc import Iterator
from typing import Any

from brownout.runner.adapters.attempt import Adapter, Asked, Piece, Reader, adapter, finish_of
from brownout.runner.adapters.translate import for_anthropic, with_tools
from brownout.runner.calls import Finish

SAMPLING = ("temperature", "top_p")
"""Gone from the API at version 2026-10-21, and from the client at 1.0; older clients still take them."""
FINISHES: dict[str, Finish] = {
    "max_tokens": "length", "model_context_window_exceeded": "length", "tool_use": "tool_calls", "refusal": "refusal",
}  # fmt: skip


def anthropic_messages(client: Any, *, max_tokens: int = 4_096) -> Adapter:
    """Returns a runner's callable over `Anthropic()`, `AsyncAnthropic()` or their cloud kin.

    What the installed client does not take has no effect: `seed`, and with anthropic 1.0 or later `temperature` and
    `top_p`.

    Args:
        client: The client. Its own retries stay off here; elsewhere it is unchanged.
        max_tokens: The output limit where neither the policy nor `run()` gives one, since the API demands one.
    """

    create = client.with_options(max_retries=0).messages.create
    taken = [name for name in SAMPLING if name in inspect.signature(create).parameters]

    def arguments(asked: Asked) -> dict[str, Any]:
        params = asked.params()
        made: dict[str, Any] = {**asked.more, **{name: params[name] for name in taken if name in params}}
        made["messages"], system = for_anthropic(asked.conversation, asked.system)
        if system:
            made["system"] = system
        if "reasoning_effort" in params:
            made["output_config"] = {**(asked.more.get("output_config") or {}), "effort": params["reasoning_effort"]}
        made["max_tokens"] = asked.output_limit("max_tokens") or max_tokens
        return with_tools(made, asked.tools, asked.call.tools, "anthropic")

    return adapter(client, create, arguments, MessagesReader)


class MessagesReader(Reader):
    """Reads events by their type; those that it does not know, such as thinking, are not content."""

    def feed(self, event: Any) -> Iterator[Piece]:
        kind = event.type
        if kind == "content_block_delta":
            if event.delta.type == "text_delta":
                if event.delta.text:
                    yield self.text(event.delta.text)
            elif event.delta.type == "input_json_delta" and event.index in self.calls:
                self.count(event.delta.partial_json)
                self.calls[event.index][1] += event.delta.partial_json
        elif kind == "content_block_start" and event.content_block.type == "tool_use":
            self.calls[event.index] = [event.content_block.name, "", event.content_block.id]
        elif kind == "message_start":
            self._count_tokens(event.message.usage)
        elif kind == "message_delta":
            self._count_tokens(event.usage)
            if event.delta.stop_reason is not None:
                self.finish = finish_of(event.delta.stop_reason, FINISHES)

    def _count_tokens(self, usage: Any) -> None:
        """Counts are cumulative; the prompt's include what a cache held."""
        if usage is None:
            return
        prompt, _ = self.usage or (0, 0)
        if usage.input_tokens is not None:
            cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
            prompt = usage.input_tokens + cached
        self.usage = (prompt, usage.output_tokens or 0)
