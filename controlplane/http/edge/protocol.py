"""uvicorn's HTTP/1.1 with an end to patience: it waits for ever for a header section, a body, and a reader."""

import asyncio
import socket
import sys
from typing import Any, Literal

import h11
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import get_remote_addr

from controlplane.http.edge.gate import Gate

KEEP_ALIVE_REQUESTS = 1_000
"""On one connection; then the answer says that it closes. It spreads clients over replicas again, too."""
PROXY_KEEP_ALIVE_S = 75.0
"""Longer than a proxy keeps an idle connection (nginx: 60 s), so that it never sends into one that we are closing."""
LINGER_BYTES = 1_000_000
UNSENT_BYTES = 131_072
"""What the kernel may hold for a reader that does not read; the rest waits with us, where we see it."""

Stage = Literal["idle", "header", "body", "linger"]


def _closing(status: str, text: str, more: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n"
        f"Cache-Control: no-store\r\n{more}Connection: close\r\n\r\n{text}"
    ).encode()


FULL = _closing("503 Service Unavailable", "too many connections", "Retry-After: 10\r\n")
LATE = _closing("408 Request Timeout", "the request took too long to arrive")


class GuardedProtocol(H11Protocol):
    """One connection. `gate.look` asks it `overdue`; nothing here has a timer of its own."""

    def __init__(self, gate: Gate, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._gate = gate
        self._limits = gate.limits
        self._stage: Stage = "header"
        self._since = self._looked = gate.now()
        self._received = 0
        """Bytes of the stage."""
        self._requests = 0
        self._unread: tuple[float, int, int] | None = None
        """Since when the write buffer has not been empty, its size at the last look, and what was read since."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer = get_remote_addr(transport)
        address = peer[0] if peer else ""
        if self._gate.admit(self, address):
            self.transport = transport
            transport.write(FULL)
            transport.close()
            return
        _tune(transport)
        if self._gate.trusts(address):
            self.timeout_keep_alive = PROXY_KEEP_ALIVE_S  # type: ignore[assignment]
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.leave(self)
        if self in self.connections:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._stage == "linger":
            self._received += len(data)
            if self._received > LINGER_BYTES:
                self.transport.abort()
            return
        if self._stage == "idle":
            self._enter("header")
        self._received += len(data)
        super().data_received(data)
        self._follow()

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._requests += 1
            if self._requests >= KEEP_ALIVE_REQUESTS:
                self.cycle.default_headers = [*self.cycle.default_headers, CLOSE_HEADER]

    def on_response_complete(self) -> None:
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self.server_state.total_requests += 1
            self._linger()
            return
        super().on_response_complete()
        self._follow()

    def overdue(self, now: float) -> str:
        if self._stops_reading(now):
            return "slow_reader"
        if self._stage == "body" and self.flow.read_paused:
            self._since += now - self._looked  # we do not take it: no fault of the client's
        self._looked = now
        waited = now - self._since
        match self._stage:
            case "header" if waited > self._limits.header_s:
                return "slow_header"
            case "body" if waited > self._limits.body_s + self._received / self._limits.min_rate:
                return "slow_body"
            case "linger" if waited > self._limits.linger_s:
                return "linger"
        return ""

    def end(self, why: str) -> None:
        """At once: what is unsent is dropped, for the client does not read it."""
        if (why == "slow_header" and self._received) or (why == "slow_body" and not self.cycle.response_started):
            self.transport.write(LATE)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _follow(self) -> None:
        """What we wait for now, as h11 knows it."""
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            if self._stage != "body":
                self._enter("body")
        elif state is h11.IDLE and (self._stage == "header" or self.conn.trailing_data[0]):
            if self._stage != "header":
                self._enter("header")
        else:
            self._enter("idle")

    def _enter(self, stage: Stage) -> None:
        self._stage, self._since, self._received = stage, self._gate.now(), 0

    def _linger(self) -> None:
        """The answer is complete and the body is not. To close now would reset the connection, and the client might
        never read why: we end our side, and drop what still comes for a while (RFC 9112 9.6)."""
        self._enter("linger")
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def _stops_reading(self, now: float) -> bool:
        size = self.transport.get_write_buffer_size()
        if not size:
            self._unread = None
            return False
        if self._unread is None:
            self._unread = (now, size, 0)
            return False
        since, last, taken = self._unread
        taken += max(0, last - size)
        if now - since < self._limits.read_s:
            self._unread = (since, size, taken)
            return False
        self._unread = (now, size, 0)
        return taken < self._limits.min_rate * (now - since)


def _tune(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sys.platform == "linux" and sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
