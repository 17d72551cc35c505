"""The demo's services beside `brownout up`: one process, started last and ended first."""

import subprocess
import sys
from pathlib import Path

import msgspec

from controlplane.demo.control import ENVIRONMENT
from controlplane.demo.fleet import FleetSettings
from controlplane.embedded.data_dir import DataDir
from controlplane.embedded.processes import spawn, stop


def control_file(directory: DataDir) -> Path:
    """Where `brownout demo` writes what to break."""
    return directory.path / "demo-control.json"


class DemoFleet:
    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, directory: DataDir, nats_url: str, sdk_key: str, speed: int) -> None:
        settings = FleetSettings(nats_url, ENVIRONMENT, sdk_key, str(control_file(directory)), speed)
        file = directory.write_private("demo-fleet.json", msgspec.json.encode(settings))
        command = [sys.executable, "-m", "controlplane.demo.fleet", str(file)]
        self._process = spawn(command, directory.path / "demo-fleet.log")

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process, timeout_s=5)
