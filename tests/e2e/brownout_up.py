"""`brownout up` as a process of its own, the way people start it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
CLI = [sys.executable, "-m", "controlplane"]
NOBODY = 65534
AS_NOBODY = [
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
]  # fmt: skip
"""Not root, but able to read this interpreter wherever it is installed."""

CAN_BE_NOBODY = os.geteuid() == 0 and shutil.which("setpriv") is not None
START_S = 60


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("BROWNOUT_")}


class BrownoutUp:
    """Starts on entering, and is ready then; ends by SIGINT on leaving."""

    def __init__(self, data_dir: Path, *options: str, prefix: Sequence[str] = ()) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_name(data_dir.name + ".log")
        self._command = [*prefix, *CLI, "up", "--data-dir", str(data_dir), *options]
        self.process: subprocess.Popen[bytes]

    def start(self) -> "BrownoutUp":
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, env=environment()
            )
        deadline = time.monotonic() + START_S
        while not self._ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return self

    @property
    def target(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.data_dir / "cli.json").read_text())
        return found

    @property
    def sdk_keys(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.data_dir / "sdk-keys.json").read_text())
        return found

    def children(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def stop(self, how: signal.Signals = signal.SIGINT, timeout_s: float = 30) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout_s)

    def cli(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*CLI, *arguments, "--data-dir", str(self.data_dir)],
            capture_output=True, check=False, cwd=ROOT, env=environment(), input=stdin, timeout=60,
        )  # fmt: skip

    def load_demo_configuration(self, environment_key: str = "production") -> None:
        """The demo's document alone: `--demo` would also run its services, which change things by themselves."""
        self.json("import", str(ROOT / "controlplane/demo/support_copilot.yaml"), "-e", environment_key)

    def json(self, *arguments: str, stdin: bytes | None = None) -> Any:
        """The verb's `--json` answer; the verb must succeed."""
        done = self.cli(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def _ready(self) -> bool:
        if b"Brownout is up" not in self.log.read_bytes():
            return False
        try:
            with urllib.request.urlopen(self.target["url"] + "/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def __enter__(self) -> "BrownoutUp":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.stop()


def refused(*command: str | Path, prefix: Sequence[str] = ()) -> str:
    """Runs `brownout <command>`, which must end soon and non-zero; returns the sentence it ends with."""
    done = subprocess.run(
        [*prefix, *CLI, *map(str, command)],
        capture_output=True, check=False, cwd=ROOT, env=environment(), timeout=60,
    )  # fmt: skip
    said = done.stderr.decode()
    assert done.returncode == 1, (done.returncode, said)
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1, said
    return said.strip()
