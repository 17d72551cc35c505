"""The two wheels, in an environment that has nothing else: what a user installs is what runs."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("wheels")  # built once, and never two at a time in one folder

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "sdk"):
        subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", out, project], check=True)
    return {wheel.name.split("-")[0]: wheel for wheel in out.glob("*.whl")}


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with both wheels and their pinned dependencies."""
    venv = tmp_path_factory.mktemp("venv") / "v"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    install = [UV, "pip", "install", "--quiet", "--python", venv / "bin" / "python"]
    subprocess.run([*install, "--require-hashes", "-r", ROOT / "requirements" / "run.txt"], check=True)
    subprocess.run([*install, "--no-deps", *wheels.values()], check=True)
    return venv / "bin"


def test_the_sdk_wheel_contains_only_itself(wheels: dict[str, Path]) -> None:
    names = zipfile.ZipFile(wheels["brownout"]).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"brownout"}
    assert "brownout/py.typed" in names
    assert not [name for name in names if "test" in Path(name).parts or "conformance" in Path(name).parts]


def test_the_control_plane_wheel_carries_what_it_serves(wheels: dict[str, Path]) -> None:
    names = zipfile.ZipFile(wheels["brownout_controlplane"]).namelist()
    assert "controlplane/_migrations/env.py" in names
    assert "controlplane/_ui/dist/manifest.json" in names
    assert any(name.startswith("controlplane/_ui/templates/") for name in names)
    assert not any(name.startswith("brownout/") for name in names)


def test_up_runs_from_the_wheels_alone(installed: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BROWNOUT_"))}
    data, log = tmp_path / "data", tmp_path / "log"
    with log.open("w") as out:
        up = subprocess.Popen(
            [installed / "brownout", "up", "--data-dir", data], stdout=out, stderr=out, cwd=tmp_path, env=environment
        )
    try:
        deadline = time.monotonic() + 60
        while not ready(data / "cli.json"):
            assert up.poll() is None, f"it ended: {log.read_text()}"
            assert time.monotonic() < deadline, f"it is not ready: {log.read_text()}"
            time.sleep(0.1)
    finally:
        up.send_signal(signal.SIGINT)
        try:
            ended = up.wait(timeout=30)
        except subprocess.TimeoutExpired:
            up.kill()
            raise
    assert ended == 0, log.read_text()


def ready(target: Path) -> bool:
    try:
        with urllib.request.urlopen(json.loads(target.read_text())["url"] + "/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False
