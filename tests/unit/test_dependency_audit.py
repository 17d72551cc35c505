"""`.ci/audit` has three outcomes, and "nobody looked" is not the one that means "all is well"."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "audit"
CLEAN = {"dependencies": [{"name": "litestar", "version": "2.25.0", "vulns": []}]}
FOUND = {"dependencies": [{"name": "litestar", "version": "2.0.0", "vulns": [{"id": "GHSA-aaaa-bbbb-cccc"}]}]}
UNKNOWN = {"dependencies": [{"name": "litestar", "skip_reason": "Dependency not found on PyPI"}]}
SOME_UNKNOWN = {"dependencies": [*CLEAN["dependencies"], *UNKNOWN["dependencies"]]}
MIXED = {"dependencies": [*FOUND["dependencies"], *UNKNOWN["dependencies"]]}
SILENT = "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='…'): Max retries exceeded"


def audit(tmp_path: Path, ours: Any, canary: Any = FOUND, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the script with something in pip-audit's place, that answers about our dependencies and about the canary."""
    for name, says in (("ours", ours), ("canary", canary)):
        (tmp_path / name).write_text(says if isinstance(says, str) else json.dumps(says))
    fake = tmp_path / "pip-audit"
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *requirements/run.txt*) cat {tmp_path}/ours;; *) cat {tmp_path}/canary;; esac\n'
    )
    fake.chmod(0o755)
    command = {"BROWNOUT_AUDIT_COMMAND": str(fake), "BROWNOUT_AUDIT": ""}
    return subprocess.run(
        [SCRIPT], capture_output=True, text=True, check=False, env={**os.environ, **command, **environment}
    )


def test_nothing_found_passes_and_says_what_was_looked_at(tmp_path: Path) -> None:
    done = audit(tmp_path, CLEAN)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 packages of requirements/run.txt, none with a known vulnerability" in done.stdout


@pytest.mark.parametrize("ours", [FOUND, MIXED])
def test_a_vulnerability_fails_whatever_else_went_wrong(tmp_path: Path, ours: Any) -> None:
    done = audit(tmp_path, ours, SILENT)
    assert done.returncode == 1
    assert "GHSA-aaaa-bbbb-cccc" in done.stderr


@pytest.mark.parametrize(
    ("ours", "canary"),
    [
        (SILENT, FOUND),
        ("404 Client Error: Not Found", FOUND),
        ("503 Server Error", FOUND),
        ("Read timed out.", FOUND),
        (UNKNOWN, FOUND),
        (SOME_UNKNOWN, FOUND),
        ({"dependencies": []}, FOUND),
        (CLEAN, CLEAN),
        (CLEAN, UNKNOWN),
        (CLEAN, SILENT),
    ],
)
def test_where_nobody_looked_it_neither_passes_nor_fails(tmp_path: Path, ours: Any, canary: Any) -> None:
    done = audit(tmp_path, ours, canary)
    assert (done.returncode, done.stdout) == (75, "")
    assert "NOT AUDITED" in done.stderr
    assert audit(tmp_path, ours, canary, BROWNOUT_AUDIT="required").returncode == 1


def test_an_audit_that_is_broken_fails(tmp_path: Path) -> None:
    assert audit(tmp_path, "Traceback (most recent call last): KeyError").returncode == 1
    assert audit(tmp_path, CLEAN, BROWNOUT_AUDIT_COMMAND="/nowhere/pip-audit").returncode == 1
