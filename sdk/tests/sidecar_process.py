"""A sidecar in a process of its own, and a client for it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

PATIENCE_S = 30.0


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


class Sidecar:
    """`command` starts it; it listens on `address`, a Unix socket if that is a path."""

    def __init__(self, variables: dict[str, str], address: str, log: Path, command: Sequence[str] = ()) -> None:
        self._variables = variables
        self._address = address
        self._command = command or (sys.executable, "-m", "brownout.sidecar")
        self.log = log

    def __enter__(self) -> Self:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BROWNOUT_")} | self._variables
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._command, "--listen", self._address], env=environment, stdout=log, stderr=log
            )
        until = time.monotonic() + PATIENCE_S
        while not self._listens():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)
        self.http = self.client()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _listens(self) -> bool:
        unix = self._address.startswith("unix:")
        with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as probe, suppress(OSError):
            host, _, port = self._address.rpartition(":")
            probe.connect(port if unix else (host, int(port)))
            return True
        return False

    def client(self, **options: Any) -> httpx.Client:
        unix = self._address.removeprefix("unix:") if self._address.startswith("unix:") else None
        transport = httpx.HTTPTransport(uds=unix)
        base = "http://localhost" if unix else f"http://{self._address}"
        return httpx.Client(transport=transport, base_url=base, timeout=PATIENCE_S, **options)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/healthz").json()
        return found

    def waits_for(self, revision: int) -> None:
        until = time.monotonic() + PATIENCE_S
        while self.health()["revision"] < revision:
            assert time.monotonic() < until, self.health()
            time.sleep(0.02)

    @contextmanager
    def changes(self) -> Iterator[Iterator[tuple[str, str]]]:
        """(Event, data) of the stream as they come."""
        with self.client() as client, client.stream("GET", "/changes") as response:
            assert response.status_code == 200
            yield _events(response.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, line.removeprefix("data: ")
