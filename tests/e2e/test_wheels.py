"""The two wheels, in an environment that has nothing else: what a user installs is what runs."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

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
    with subprocess.Popen(
        [installed / "brownout", "up", "--data-dir", tmp_path / "data"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    ) as up:
        assert up.stdout is not None
        said = []
        for line in up.stdout:
            said.append(line)
            if "NATS" in line:
                break
        else:
            pytest.fail(f"it did not start: {''.join(said)}")
        target = json.loads((tmp_path / "data" / "cli.json").read_text())
        with urllib.request.urlopen(target["url"] + "/readyz") as answer:
            assert answer.status == 200
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=30)
        assert up.returncode == 0
