"""A real nats-server on loopback, from its wheel."""

import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path


def free_port() -> int:
    """Below those that the kernel gives to outgoing connections: it is still free after a restart."""
    while True:
        port = secrets.choice(range(10_000, 32_000))
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


class NatsProcess:
    """Keeps its ports over a restart, so that clients can find it again."""

    def __init__(self, directory: Path) -> None:
        self.extra = ""
        """Appended to the configuration at the next start."""
        self._directory = directory
        self._port, self._monitor = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    @property
    def connections(self) -> list[str]:
        """The names of who is connected."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/connz", timeout=2) as answer:
            return [entry.get("name", "") for entry in json.load(answer)["connections"]]

    def start(self) -> "NatsProcess":
        config = self._directory / "nats.conf"
        self._directory.mkdir(parents=True, exist_ok=True)
        config.write_text(
            f'listen: "127.0.0.1:{self._port}"\nhttp: "127.0.0.1:{self._monitor}"\n'
            f"jetstream {{ store_dir: {json.dumps(str(self._directory / 'jetstream'))} }}\n{self.extra}\n"
        )
        beside = Path(sys.executable).parent / "nats-server"
        program = str(beside) if beside.exists() else shutil.which("nats-server")
        assert program
        self._process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not self._healthy():
            time.sleep(0.01)
        return self

    def send(self, signal: int) -> None:
        assert self._process
        self._process.send_signal(signal)

    def stop(self, *, kill: bool = False) -> None:
        if self._process:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait()

    def wipe(self) -> None:
        shutil.rmtree(self._directory / "jetstream", ignore_errors=True)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/healthz", timeout=1) as answer:
                return bool(json.load(answer).get("status") == "ok")
        except urllib.error.HTTPError as unhealthy:  # it holds the connection, and from Python 3.14 on complains
            unhealthy.close()
            return False
        except (OSError, ValueError):
            return False
