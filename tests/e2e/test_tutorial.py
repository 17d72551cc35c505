"""docs/tutorial.md does what it says: its files, its commands and its service, against real servers."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.brownout_up import ROOT, BrownoutUp, environment

pytestmark = pytest.mark.xdist_group("cli")

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
STEP = re.compile(r"(?:as `(?P<file>[\w.-]+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)```", re.DOTALL)
ELSEWHERE = {"make assets\n. .venv/bin/activate\n", "brownout up\n"}
"""What has happened before: the fixture starts the control plane."""

PATIENCE_S = 20


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with BrownoutUp(tmp_path / ".brownout"):
        yield tmp_path


def test_a_reader_who_types_all_of_it_sees_what_the_page_says(folder: Path) -> None:
    binaries = Path(sys.executable).parent
    variables = {**environment(), "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    log = folder / "service.log"
    service: subprocess.Popen[bytes] | None = None
    seen: list[str] = []
    try:
        for step in STEP.finditer(PAGE):
            kind, text = step["kind"], step["text"]
            if step["file"]:
                (folder / step["file"]).write_text(text)
            elif text == "python service.py &\n":
                with log.open("wb") as out:
                    service = subprocess.Popen(
                        [sys.executable, "service.py"], cwd=folder, env=variables, stdout=out, stderr=out
                    )
            elif kind == "text":
                seen.append(text.strip())
                assert wait_for(log, seen) == seen
            elif text not in ELSEWHERE:
                done = subprocess.run(
                    ["bash", "-euc", text], cwd=folder, env=variables, capture_output=True, check=False, timeout=60
                )
                assert done.returncode == 0, (text, done.stderr.decode())
    finally:
        if service is not None:
            service.kill()
            service.wait()
    assert len(seen) == 4


def wait_for(log: Path, lines: list[str]) -> list[str]:
    """What the service has printed, once it is as many lines."""
    deadline = time.monotonic() + PATIENCE_S
    while len(found := log.read_text().splitlines()) < len(lines) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
