"""A provider on loopback that speaks the APIs of OpenAI and Anthropic, and fails in every way on command."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec

KEEP_ALIVE = b": keep-alive\n\n"


@dataclass(frozen=True)
class Answer:
    """What the server does with one request: a status and a body, or a stream of chunks, and what goes wrong in it."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: tuple[bytes, ...] | None = None
    """A stream; None sends `body` at once."""
    reset: bool = False
    """Reset the connection after that."""
    cut: bool = False
    """Close the connection after that, without the end that chunked encoding has."""
    stall_s: float = 0.0
    """Then send nothing for so long."""
    keep_alives: int = 0
    """Then send so many comments, 20 ms apart."""


@dataclass
class Asked:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Provider:
    """Gives the answers in `plan` in order, then the last one again; remembers what it was asked."""

    def __init__(self) -> None:
        self.plan: list[Answer] = []
        self.asked: list[Asked] = []
        self._ended = threading.Event()
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def will(self, *answers: Answer) -> Self:
        self.plan = list(answers)
        self.asked.clear()
        return self

    def answer(self) -> Answer:
        return self.plan[min(len(self.asked), len(self.plan)) - 1]

    def wait(self, seconds: float) -> bool:
        """Waits; returns whether the server ended meanwhile."""
        return self._ended.wait(seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is expected here."""


class _Handler(BaseHTTPRequestHandler):
    provider: Provider
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Says nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.provider.asked.append(Asked(self.path, headers, msgspec.json.decode(body)))
        answer = self.provider.answer()
        try:
            self._send(answer)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send(self, answer: Answer) -> None:
        if answer.chunks is None and (answer.reset or answer.stall_s):
            self._break(answer)
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.chunks is None:
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
            return
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for chunk in answer.chunks:
            self._chunk(chunk)
        for _ in range(answer.keep_alives):
            self._chunk(KEEP_ALIVE)
            time.sleep(0.02)
        if answer.reset or answer.stall_s or answer.cut:
            self._break(answer)
        else:
            self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _break(self, answer: Answer) -> None:
        self.provider.wait(answer.stall_s)
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True


def encoded(value: object) -> bytes:
    return msgspec.json.encode(value)


def event(value: object, name: str | None = None) -> bytes:
    """One server-sent event."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + encoded(value) + b"\n\n"


def error(status: int, body: object, **headers: str) -> Answer:
    """An error; in the names of headers `_` stands for `-`."""
    return Answer(status, encoded(body), {name.replace("_", "-"): value for name, value in headers.items()})


def pieces(text: str) -> Iterator[str]:
    """Cuts a text into what a model would stream."""
    return iter([text[start : start + 4] for start in range(0, len(text), 4)])
