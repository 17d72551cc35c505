"""A small reverse proxy: everything under one path goes to Brownout, and nothing else is there."""

import socket
import socketserver
import threading
from typing import Self


class PathProxy(socketserver.ThreadingTCPServer):
    """`strips` takes the path off before passing a request on. `missed` are requests for what is not under the path: a
    link, form or asset that was written without it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, path: str, port: int, upstream: int, *, strips: bool) -> None:
        super().__init__(("127.0.0.1", port), _Request)
        self.path, self.upstream, self.strips = path, upstream, strips
        self.missed: list[str] = []
        self.passed: list[str] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Request(socketserver.StreamRequestHandler):
    """One request a connection."""

    server: PathProxy

    def handle(self) -> None:
        method, _, rest = self.rfile.readline().decode().partition(" ")
        target = rest.partition(" ")[0]
        if not target:
            return
        lines = []
        length = 0
        while (line := self.rfile.readline().decode().rstrip()) != "":
            name, _, value = line.partition(":")
            length = int(value) if name.lower() == "content-length" else length
            lines += [line] if name.lower() != "connection" else []
        body = self.rfile.read(length)
        path = self.server.path
        if not f"{target}/".startswith((f"{path}/", f"{path}?")):
            self.server.missed.append(target)
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        self.server.passed.append(target)
        sent = target.removeprefix(path) or "/" if self.server.strips else target
        head = "\r\n".join([f"{method} {sent} HTTP/1.1", *lines, "Connection: close", "", ""])
        try:
            with socket.create_connection(("127.0.0.1", self.server.upstream)) as upstream:
                upstream.sendall(head.encode() + body)
                while data := upstream.recv(65_536):
                    self.wfile.write(data)
        except OSError:
            return  # the browser has left, or Brownout ends
