"""One attempt over a provider's client: open a stream, read it, classify what goes wrong, close it."""

import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from brownout.runner.adapters.translate import of_turn
from brownout.runner.calls import Call, Failed, Finish, Output, Text, ToolCall
from brownout.runner.classify import classify, failed
from brownout.runner.headers import kept_headers

Piece = Text | ToolCall | Output
MOST_CHARACTERS = 8_000_000
"""Of one answer; far above what any model's output limit allows."""
FILTERED = re.compile("filter|safety|prohibited|blocklist|sensitive", re.IGNORECASE)


class Asked(msgspec.Struct, frozen=True):
    """What `run()` was given, next to what the policy says in `call`."""

    call: Call
    system: str | None
    messages: Sequence[Any]
    tools: Sequence[Any]
    more: Mapping[str, Any]

    @property
    def conversation(self) -> list[Any]:
        """The messages, what came after them in this request, and what the validator said of the answer before."""
        feedback = self.call.feedback
        said = [message for n, turn in enumerate(self.call.turns) for message in of_turn(turn, n)]
        return [*self.messages, *said, *([{"role": "user", "content": feedback}] if feedback else [])]

    def params(self) -> dict[str, Any]:
        """What the policy says of sampling; it wins over what `run()` was given, since safe mode tightens it."""
        return {name: value for name, value in self.call.params.items() if value is not None}

    def output_limit(self, name: str) -> int | None:
        """The strictest of the policy's limits and the caller's own, which stands in the field `name`."""
        limits = (self.call.max_output_tokens, self.call.params.get("max_output_tokens"), self.more.get(name))
        return min((limit for limit in limits if limit is not None), default=None)


class Reader:
    """What all readers of streams share: the text, the tools, the refusal and the usage so far."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.finish: Finish | None = None
        self.usage: tuple[int, int] | None = None
        self.refusal = ""
        self.calls: dict[int, list[str]] = {}
        """Tool calls that arrive in pieces, by position: name, arguments, id."""
        self._texts: list[str] = []
        self._tools: list[ToolCall] = []
        self._characters = 0

    def feed(self, event: Any) -> Iterator[Piece]:
        """Reads one event of the provider and yields the content in it."""
        raise NotImplementedError

    def close(self) -> Iterator[Piece]:
        """Yields the tool calls and the whole answer. Raises `Failed` if the stream ended before the answer did."""
        finish = "refusal" if self.refusal and self.finish != "content_filter" else self.finish
        if finish is None:
            raise failed("server_error", self.headers)
        if finish in {"stop", "tool_calls"}:  # of a truncated answer, the last call may be half a call
            for name, arguments, call_id in self.calls.values():
                yield from self.tool(name, arguments, call_id)
        if finish == "stop" and self._tools:
            finish = "tool_calls"
        text = "".join(self._texts) or self.refusal
        yield Output(text, self.usage, finish, tuple(self._tools), self.headers)

    def text(self, text: str) -> Text:
        """Returns a piece of content. An empty one is not content: readers leave it out."""
        self.count(text)
        self._texts.append(text)
        return Text(text)

    def tool(self, name: str, arguments: str, call_id: str) -> Iterator[Piece]:
        """Yields a whole tool call. Raises `Failed` unless its arguments are a JSON object."""
        try:
            read = msgspec.json.decode(arguments or "{}", type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise failed("format_error", self.headers) from error
        call = ToolCall(name, read, call_id)
        self._tools.append(call)
        yield call

    def count(self, text: str) -> None:
        """Counts what the provider sent. Raises `Failed` at the bound."""
        self._characters += len(text)
        if self._characters > MOST_CHARACTERS:
            raise failed("format_error", self.headers)


def finish_of(reason: str, known: Mapping[str, Finish]) -> Finish:
    """Returns why an answer ended; a reason that sounds like a filter's is one, whatever the provider calls it."""
    if FILTERED.search(reason):
        return "content_filter"
    return known.get(reason, "stop")


class Adapter(Protocol):
    """A callable of the runner: an iterator for a synchronous client, an asynchronous one for the other."""

    def __call__(
        self, call: Call, *, messages: Sequence[Any] = ..., system: str | None = ..., tools: Sequence[Any] | None = ...,
        **more: Any,
    ) -> Any: ...  # fmt: skip


def adapter(
    client: Any, create: Callable[..., Any], arguments: Callable[[Asked], dict[str, Any]], reader: type[Reader]
) -> Adapter:
    """Returns the callable for a client; a client that is an asynchronous context manager is an asynchronous client."""

    def opened(asked: Asked) -> Any:
        made = {**arguments(asked), "model": asked.call.model, "stream": True, "timeout": asked.call.timeout_s}
        try:
            return create(**made)
        except TypeError as error:  # `run()` was given something that this client does not take
            raise failed("bad_request", reason="unsupported") from error

    def ask(
        call: Call, *, messages: Sequence[Any] = (), system: str | None = None, tools: Sequence[Any] | None = None,
        **more: Any,
    ) -> Iterator[Piece]:  # fmt: skip
        until = time.monotonic() + call.timeout_s
        try:
            with opened(Asked(call, system, messages, tools or (), more)) as stream:
                reading = reader(kept_headers(stream.response.headers))
                stream.response.iter_bytes = _until(stream.response.iter_bytes, until)
                for event in stream:
                    yield from reading.feed(event)
                yield from reading.close()
        except Failed:
            raise
        except Exception as error:
            raise classify(error) from error

    async def ask_async(
        call: Call, *, messages: Sequence[Any] = (), system: str | None = None, tools: Sequence[Any] | None = None,
        **more: Any,
    ) -> AsyncIterator[Piece]:  # fmt: skip
        until = time.monotonic() + call.timeout_s
        try:
            async with await opened(Asked(call, system, messages, tools or (), more)) as stream:
                reading = reader(kept_headers(stream.response.headers))
                stream.response.aiter_bytes = _until_async(stream.response.aiter_bytes, until)
                async for event in stream:
                    for piece in reading.feed(event):
                        yield piece
                for piece in reading.close():
                    yield piece
        except Failed:
            raise
        except Exception as error:
            raise classify(error) from error

    return ask_async if hasattr(type(client), "__aenter__") else ask


def _until(chunks: Callable[[], Iterator[bytes]], until: float) -> Callable[[], Iterator[bytes]]:
    """Bounds a stream of which keep-alives arrive: the clients show none, and each restarts their own timeout."""

    def bounded() -> Iterator[bytes]:
        for chunk in chunks():
            if time.monotonic() >= until:
                raise TimeoutError
            yield chunk

    return bounded


def _until_async(chunks: Callable[[], AsyncIterator[bytes]], until: float) -> Callable[[], AsyncIterator[bytes]]:
    async def bounded() -> AsyncIterator[bytes]:
        async for chunk in chunks():
            if time.monotonic() >= until:
                raise TimeoutError
            yield chunk

    return bounded
