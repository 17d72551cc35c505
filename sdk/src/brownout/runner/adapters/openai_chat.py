"""OpenAI's chat API, and the many servers that speak it: Azure, vLLM, Ollama, gateways."""

from collections.abc import Iterator, Mapping
from typing import Any

from brownout.runner.adapters.attempt import Adapter, Asked, Piece, Reader, adapter, finish_of
from brownout.runner.adapters.translate import with_tools
from brownout.runner.calls import Finish
from brownout.runner.classify import failed, is_filter_error

FINISHES: dict[str, Finish] = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}


def openai_chat(client: Any, *, output_limit: str = "max_completion_tokens", usage: bool = True) -> Adapter:
    """Returns a runner's callable over `OpenAI()`, `AsyncOpenAI()` or their Azure kin, with chat completions.

    Args:
        client: The client. Its own retries stay off here; elsewhere it is unchanged.
        output_limit: The field that limits the output; `max_tokens` for servers that know no other.
        usage: Whether to ask for the count of tokens at the end of the stream, which some servers refuse.
    """

    def arguments(asked: Asked) -> dict[str, Any]:
        params = asked.params()
        params.pop("max_output_tokens", None)
        system = [{"role": "system", "content": asked.system}] if asked.system else []
        made: dict[str, Any] = {**asked.more, **params, "messages": [*system, *asked.conversation]}
        limit = asked.output_limit(output_limit)
        if limit is not None:
            made[output_limit] = limit
        if usage:
            made["stream_options"] = {"include_usage": True, **(asked.more.get("stream_options") or {})}
        return with_tools(made, asked.tools, asked.call.tools, "chat")

    return adapter(client, client.with_options(max_retries=0).chat.completions.create, arguments, ChatReader)


class ChatReader(Reader):
    """Reads chunks of the first choice. A tool call arrives in pieces."""

    def feed(self, event: Any) -> Iterator[Piece]:
        if event.usage is not None:
            self.usage = (event.usage.prompt_tokens, event.usage.completion_tokens)
        if event.model_extra:
            for prompt in event.model_extra.get("prompt_filter_results") or ():
                self._check_filter(prompt)
        choice = event.choices[0] if event.choices else None
        if choice is None or choice.index:  # of several choices, each chunk holds one
            return
        if choice.model_extra:
            self._check_filter(choice.model_extra)
        delta = choice.delta
        if delta is not None:
            if delta.refusal:
                self.refusal += delta.refusal
            for part in delta.tool_calls or ():
                self._add(part)
            if delta.content:
                yield self.text(delta.content)
        if choice.finish_reason == "error":  # OpenRouter: the provider behind it failed midway
            raise failed("server_error", self.headers)
        if choice.finish_reason is not None:
            self.finish = finish_of(choice.finish_reason, FINISHES)

    def _check_filter(self, said: Any) -> None:
        """Raises before unfiltered content is passed on: with Azure, each chunk says how its filter did."""
        if isinstance(said, Mapping):
            results = said.get("content_filter_results") or said.get("content_filter_result")
            if is_filter_error(results):
                raise failed("filter_unavailable", self.headers)

    def _add(self, part: Any) -> None:
        call = self.calls.setdefault(part.index or 0, ["", "", ""])
        if part.function is not None:
            call[0] += part.function.name or ""
            call[1] += part.function.arguments or ""
            self.count(part.function.arguments or "")
        call[2] = call[2] or part.id or ""
