"""What must never be committed."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_lock_files_name_no_registry(tracked: list[Path]) -> None:
    assert not [path for path in tracked if path.name == "uv.lock"]
    for lock in (path for path in tracked if path.name == "package-lock.json"):
        packages = json.loads(lock.read_text())["packages"]
        assert not [name for name, entry in packages.items() if "resolved" in entry]
    for pins in (path for path in tracked if path.parent.name == "requirements"):
        assert not re.search(r"^\s*--(extra-)?index-url|^\s*--find-links", pins.read_text(), re.MULTILINE), pins


def test_every_pin_has_a_hash(tracked: list[Path]) -> None:
    for pins in (path for path in tracked if path.parent.name == "requirements" and path.suffix == ".txt"):
        for pin in re.findall(r"^[\w.\[\]-]+==.*", pins.read_text().replace("\\\n", " "), re.MULTILINE):
            assert "--hash=sha256:" in pin, f"{pins.name}: {pin[:60]}"


def test_third_party_assets_come_from_npm(tracked: list[Path]) -> None:
    assert not [path for path in tracked if path.suffix == ".js" and re.search(r"htmx|uplot", path.name, re.IGNORECASE)]
    assert not [path for path in tracked if {"node_modules", "dist"} & set(path.relative_to(ROOT).parts)]


def test_no_secret_is_tracked(tracked: list[Path]) -> None:
    looks_secret = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bbo_(?:sdk|api)_[A-Za-z0-9_-]{30,}")
    assert not [path for path in tracked if looks_secret.search(path.read_bytes())]
