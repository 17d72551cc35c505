"""The two distributions, each in an environment that has nothing else: what a user installs is what runs.

`make dist` hands in what it built, as DIST; else they are built here.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import urllib.request
import zipfile
from email import message_from_bytes
from email.message import Message
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urljoin

import pytest

pytestmark = pytest.mark.xdist_group("wheels")  # built once, and never two at a time in one folder

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both source distributions, and the wheels made from them."""
    if "DIST" in os.environ:
        return Path(os.environ["DIST"])
    out = tmp_path_factory.mktemp("dist")
    for project in (ROOT, ROOT / "sdk"):
        subprocess.run([UV, "build", "--quiet", "--out-dir", out, project], check=True)
    return out


@pytest.fixture(scope="module")
def wheels(built: Path) -> dict[str, Path]:
    return {wheel.name.split("-")[0]: wheel for wheel in built.glob("*.whl")}


def metadata(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with both wheels and their pinned dependencies."""
    venv = tmp_path_factory.mktemp("venv") / "v"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    install = [UV, "pip", "install", "--quiet", "--python", venv / "bin" / "python"]
    subprocess.run([*install, "--require-hashes", "-r", ROOT / "requirements" / "run.txt"], check=True)
    subprocess.run([*install, "--no-deps", *wheels.values()], check=True)
    return venv / "bin"


@pytest.fixture(scope="module")
def sdk_alone(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the SDK and its dependencies, and no control plane."""
    venv = tmp_path_factory.mktemp("sdk") / "v"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    python = venv / "bin" / "python"
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, wheels["brownout"]], check=True)
    return python


@pytest.mark.parametrize("name", ["brownout", "brownout_controlplane"])
def test_the_metadata_says_what_a_registry_shows(wheels: dict[str, Path], name: str) -> None:
    found = metadata(wheels[name])
    assert found["License-Expression"] == "Apache-2.0"
    assert found["Requires-Python"] == ">=3.11"
    assert {"Homepage", "Documentation", "Source", "Changelog"} == {
        url.split(",")[0] for url in found.get_all("Project-URL", ())
    }
    assert "Programming Language :: Python :: 3.14" in found.get_all("Classifier", ())
    archive = zipfile.ZipFile(wheels[name])
    (licence,) = (name for name in archive.namelist() if name.endswith("/licenses/LICENSE"))
    assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    links = re.findall(r"\]\((.*?)\)", str(found.get_payload()))
    assert links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_the_source_distributions_hold_no_litter(built: Path) -> None:
    for archive in built.glob("*.tar.gz"):
        with tarfile.open(archive) as opened:
            names = opened.getnames()
        assert any(name.endswith("/LICENSE") for name in names)
        parts = {part for name in names for part in Path(name).parts}
        assert parts & {"node_modules", "dist", "__pycache__", ".venv", "tests", ".git"} == set()


def test_the_sdk_works_alone(sdk_alone: Path, tmp_path: Path) -> None:
    code = "import brownout, brownout.testing as t; print(t.FakeBrownout({'f': True}).boolean('f'), brownout.Brownout)"
    done = subprocess.run([sdk_alone, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "True <class 'brownout.client.Brownout'>\n"


def test_the_command_line_tells_its_version(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed / "brownout", "--version"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == f"brownout {version('brownout-controlplane')}\n"


def test_the_sdk_wheel_contains_only_itself(wheels: dict[str, Path]) -> None:
    names = zipfile.ZipFile(wheels["brownout"]).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"brownout"}
    assert "brownout/py.typed" in names
    assert not [name for name in names if "test" in Path(name).parts or "conformance" in Path(name).parts]


def test_the_control_plane_wheel_carries_what_it_serves(wheels: dict[str, Path]) -> None:
    names = zipfile.ZipFile(wheels["brownout_controlplane"]).namelist()
    assert "controlplane/_migrations/env.py" in names
    assert "controlplane/_ui/dist/manifest.json" in names
    assert {"controlplane/_docs/index.html", "controlplane/_docs/sdk/reference.html"} <= set(names)
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
        serves_its_files(json.loads((data / "cli.json").read_text())["url"])
    finally:
        up.send_signal(signal.SIGINT)
        try:
            ended = up.wait(timeout=30)
        except subprocess.TimeoutExpired:
            up.kill()
            raise
    assert ended == 0, log.read_text()


def serves_its_files(url: str) -> None:
    """The console's page, with its stylesheet, and the documentation, with its own."""
    for page, name in ((f"{url}/sign-in", "console"), (f"{url}/docs", "docs")):
        with urllib.request.urlopen(page, timeout=5) as answer:
            html, where = answer.read().decode(), answer.url
        assert "<h1" in html
        (style,) = re.findall(rf'href="([^"]*{name}[^"]*\.css)"', html)
        with urllib.request.urlopen(urljoin(where, style), timeout=5) as answer:
            assert "--ink" in answer.read().decode()


def ready(target: Path) -> bool:
    try:
        with urllib.request.urlopen(json.loads(target.read_text())["url"] + "/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False
