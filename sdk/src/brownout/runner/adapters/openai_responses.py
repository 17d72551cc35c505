"""OpenAI's Responses API."""

from collections.abc import Iterator
from typing import Any

from brownout.runner.adapters.attempt import Adapter, Asked, Piece, Reader, adapter
from brownout.runner.adapters.translate import for_responses, with_tools
from brownout.runner.classify import classify_body, failed

KNOWN = ("temperature", "top_p")


def openai_responses(client: Any) -> Adapter:
    """Returns a runner's callable over `OpenAI()`, `AsyncOpenAI()` or their Azure kin, with the Responses API.

    It has no `seed`: one in the policy has no effect.
    """

    def arguments(asked: Asked) -> dict[str, Any]:
        params = asked.params()
        made: dict[str, Any] = {**asked.more, **{name: params[name] for name in KNOWN if name in params}}
        made["input"] = for_responses(asked.conversation)
        if asked.system:
            made["instructions"] = asked.system
        if "reasoning_effort" in params:
            made["reasoning"] = {**(asked.more.get("reasoning") or {}), "effort": params["reasoning_effort"]}
        limit = asked.output_limit("max_output_tokens")
        if limit is not None:
            made["max_output_tokens"] = limit
        return with_tools(made, asked.tools, asked.call.tools, "responses")

    return adapter(client, client.with_options(max_retries=0).responses.create, arguments, ResponsesReader)


class ResponsesReader(Reader):
    """Reads events by their type; those that it does not know, such as reasoning, are not content."""

    def feed(self, event: Any) -> Iterator[Piece]:
        kind = event.type
        if kind == "response.output_text.delta":
            if event.delta:
                yield self.text(event.delta)
        elif kind == "response.refusal.delta":
            self.refusal += event.delta or ""
        elif kind == "response.output_item.done" and event.item.type == "function_call":
            if event.item.status != "incomplete":
                yield from self.tool(event.item.name, event.item.arguments, event.item.call_id)
        elif kind in {"response.completed", "response.incomplete"}:
            self._end(event.response)
        elif kind == "response.failed":
            raise classify_body(_body(event.response.error), headers=self.headers)
        elif kind == "response.cancelled":
            raise failed("server_error", self.headers)
        elif kind == "error":
            raise classify_body(_body(event), headers=self.headers)

    def _end(self, response: Any) -> None:
        if response.usage is not None:
            self.usage = (response.usage.input_tokens, response.usage.output_tokens)
        reason = response.incomplete_details.reason if response.incomplete_details else None
        if reason is None:
            self.finish = "tool_calls" if self._tools else "stop"
        else:
            self.finish = "content_filter" if reason == "content_filter" else "length"


def _body(error: Any) -> dict[str, Any] | None:
    return None if error is None else {"code": error.code, "message": error.message}
