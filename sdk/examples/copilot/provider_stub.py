"""A stand-in for an OpenAI-compatible provider: chat completions with streaming and tool calls, and faults on a switch."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

FAULTS = ("outage", "rate_limits", "slow", "refusals")
REFUSAL = "I'm sorry, but I can't help with that."


class ProviderStub:
    """Serves on a free port of the loopback interface while the `with` block runs."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(stub: ProviderStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            if self.path == "/faults":
                self._switch(body.get("fault"))
            elif self.path != "/v1/chat/completions":
                self._json(404, {"error": {"message": f"no {self.path} here"}})
            elif stub.fault == "outage":
                self._json(503, {"error": {"message": "the provider is down", "type": "server_error"}})
            elif stub.fault == "rate_limits":
                self._json(429, {"error": {"message": "slow down", "type": "rate_limit_error"}})
            else:
                self._complete(body)

        def _switch(self, fault: object) -> None:
            if fault not in (*FAULTS, "none", None):
                self._json(400, {"error": {"message": f"a fault is one of {', '.join(FAULTS)}, none"}})
                return
            stub.fault = None if fault == "none" else fault
            self._json(200, {"fault": stub.fault})

        def _complete(self, body: dict[str, Any]) -> None:
            pause = 0.4 if stub.fault == "slow" else 0.01
            if body.get("stream"):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                for chunk in _chunks(body, refuse=stub.fault == "refusals"):
                    time.sleep(pause)
                    self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                    self.wfile.flush()
                self.wfile.write(b"data: [DONE]\n\n")
                self.close_connection = True
            else:
                time.sleep(pause)
                self._json(200, _whole(body, refuse=stub.fault == "refusals"))

        def _json(self, status: int, answer: object) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet: the example prints answers, not requests."""

    return Handler


def _chunks(body: dict[str, Any], *, refuse: bool) -> Iterator[dict[str, Any]]:
    message = _message(body, refuse=refuse)
    if message.get("tool_calls"):
        calls = [{"index": i, **call} for i, call in enumerate(message["tool_calls"])]
        yield _chunk(body, {"role": "assistant", "tool_calls": calls}, None)
        yield _chunk(body, {}, "tool_calls")
        return
    field = "refusal" if message.get("refusal") else "content"
    for word in message[field].split(" "):
        yield _chunk(body, {field: word + " "}, None)
    yield {**_chunk(body, {}, "stop"), "usage": _usage(body, message)}


def _chunk(body: dict[str, Any], delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": body["model"], "choices": [choice]}


def _whole(body: dict[str, Any], *, refuse: bool) -> dict[str, Any]:
    message = _message(body, refuse=refuse)
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice],
            "usage": _usage(body, message)}  # fmt: skip


def _message(body: dict[str, Any], *, refuse: bool) -> dict[str, Any]:
    """Looks an order up when it may and has not yet, else answers."""
    if refuse:
        return {"role": "assistant", "content": None, "refusal": REFUSAL}
    said = body["messages"]
    tools = {tool["function"]["name"] for tool in body.get("tools") or ()}
    asked = str(next((m["content"] for m in reversed(said) if m["role"] == "user"), ""))
    if said[-1]["role"] != "tool" and "order" in asked and "orders.read" in tools:
        call = {"id": "call_1", "type": "function", "function": {"name": "orders.read", "arguments": "{}"}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    known = f" I looked it up: {said[-1]['content']}." if said[-1]["role"] == "tool" else ""
    return {"role": "assistant", "content": f"This is {body['model']}.{known} Thank you for asking about: {asked}"}


def _usage(body: dict[str, Any], message: dict[str, Any]) -> dict[str, int]:
    given = sum(len(str(m.get("content") or "")) for m in body["messages"]) // 4
    made = len(str(message.get("content") or message.get("refusal") or "")) // 4
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
