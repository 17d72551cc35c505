"""What three APIs say, streamed and whole: an answer, a tool call, a refusal, and each way to end."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sdk.tests.providers.server import Answer, encoded, event, pieces

Api = Literal["chat", "responses", "anthropic"]
APIS: tuple[Api, ...] = ("chat", "responses", "anthropic")
LIMITS = {
    "chat": {"x-ratelimit-remaining-tokens": "900", "set-cookie": "secret=1"},
    "responses": {"x-ratelimit-remaining-tokens": "900"},
    "anthropic": {"anthropic-ratelimit-tokens-remaining": "900"},
}
USAGE = (11, 7)


@dataclass(frozen=True)
class Said:
    """What a model says; `end` in the words of the API, None for a stream that just ends."""

    text: str = ""
    tool: tuple[str, str, str] | None = None
    """Id, name, arguments as the model wrote them."""
    refusal: str = ""
    end: str | None = "stop"


def stream(api: Api, said: Said, **how: Any) -> Answer:
    """The answer as a stream; `how` goes to `Answer`."""
    spoken = {"chat": _chat, "responses": _responses, "anthropic": _anthropic}[api](said)
    return Answer(chunks=tuple(spoken), headers=LIMITS[api], **how)


def whole(api: Api, text: str) -> Answer:
    """The answer at once."""
    prompt, completion = USAGE
    bodies: dict[str, object] = {
        "chat": {
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
        },
        "responses": _response("completed", text=text),
        "anthropic": {
            "id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": text}], "usage": {"input_tokens": prompt, "output_tokens": completion},
        },
    }  # fmt: skip
    return Answer(body=encoded(bodies[api]), headers=LIMITS[api])


def stream_error(api: Api, body: dict[str, Any]) -> bytes:
    """An error event, as it arrives inside a stream that began with 200."""
    if api == "responses":
        return event({**body["error"], "type": "error", "sequence_number": 9}, "error")
    return event(body, "error" if api == "anthropic" else None)


def chat_chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish, **more}
    return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def _chat(said: Said) -> Iterable[bytes]:
    yield chat_chunk({"role": "assistant", "content": ""})  # role only: not content
    for piece in pieces(said.text):
        yield chat_chunk({"content": piece})
    for piece in pieces(said.refusal):
        yield chat_chunk({"refusal": piece})
    if said.tool is not None:
        call_id, name, arguments = said.tool
        begun = {"index": 0, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        yield chat_chunk({"tool_calls": [begun]})
        for piece in pieces(arguments):
            yield chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    if said.end is None:
        return
    yield chat_chunk(finish=said.end)
    prompt, completion = USAGE
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    yield event(
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
    )
    yield b"data: [DONE]\n\n"


def _response(status: str, *, text: str = "", **more: object) -> dict[str, Any]:
    prompt, completion = USAGE
    message = {
        "type": "message", "id": "i", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }  # fmt: skip
    usage = {
        "input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    return {
        "id": "r", "object": "response", "created_at": 1, "model": "m", "status": status, "output": [message] if text else [],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None,
        "usage": usage, **more,
    }  # fmt: skip


def _responses(said: Said) -> Iterable[bytes]:
    yield event({"type": "response.created", "sequence_number": 0, "response": _response("in_progress")})
    place = {"item_id": "i", "output_index": 0, "content_index": 0, "sequence_number": 1}
    for piece in pieces(said.text):
        yield event({"type": "response.output_text.delta", "delta": piece, "logprobs": [], **place})
    for piece in pieces(said.refusal):
        yield event({"type": "response.refusal.delta", "delta": piece, **place})
    if said.tool is not None:
        call_id, name, arguments = said.tool
        status = "incomplete" if said.end == "max_output_tokens" else "completed"
        item = {
            "type": "function_call",
            "id": "f",
            "call_id": call_id,
            "name": name,
            "arguments": arguments,
            "status": status,
        }
        yield event({"type": "response.output_item.done", "output_index": 0, "sequence_number": 2, "item": item})
    if said.end is None:
        return
    end = {"sequence_number": 3}
    if said.end == "stop":
        yield event({"type": "response.completed", "response": _response("completed", text=said.text), **end})
    elif said.end in {"max_output_tokens", "content_filter"}:
        response = _response("incomplete", incomplete_details={"reason": said.end})
        yield event({"type": "response.incomplete", "response": response, **end})
    else:
        response = _response("failed", error={"code": said.end, "message": "…"})
        yield event({"type": "response.failed", "response": response, **end})


def _anthropic(said: Said) -> Iterable[bytes]:
    prompt, completion = USAGE
    begun = {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
        "usage": {"input_tokens": prompt - 4, "cache_read_input_tokens": 4, "output_tokens": 1},
    }  # fmt: skip
    yield event({"type": "message_start", "message": begun}, "message_start")
    yield event(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        "content_block_start",
    )
    yield event({"type": "ping"}, "ping")
    for piece in pieces(said.text):
        delta = {"type": "text_delta", "text": piece}
        yield event({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")
    yield event({"type": "content_block_stop", "index": 0}, "content_block_stop")
    if said.tool is not None:
        call_id, name, arguments = said.tool
        block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        yield event({"type": "content_block_start", "index": 1, "content_block": block}, "content_block_start")
        for piece in pieces(arguments):
            delta = {"type": "input_json_delta", "partial_json": piece}
            yield event({"type": "content_block_delta", "index": 1, "delta": delta}, "content_block_delta")
        yield event({"type": "content_block_stop", "index": 1}, "content_block_stop")
    if said.end is None:
        return
    end = {"stop_reason": "end_turn" if said.end == "stop" else said.end, "stop_sequence": None}
    yield event({"type": "message_delta", "delta": end, "usage": {"output_tokens": completion}}, "message_delta")
    yield event({"type": "message_stop"}, "message_stop")
