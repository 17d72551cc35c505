"""What the command line may not do after a change was made, and what it never repeats."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

TOKEN = "bo_api_" + 49 * "0"
DONE = b'{"environment":"production","revision":7,"author":"a","message":"m","effective":["small \xe2\x86\x92 big"]'
ANSWER = DONE + b',"changes":[],"chain":"c","created_at":"2026-01-01T00:00:00Z","unchanged":false,"epoch":1}'


class Plane(BaseHTTPRequestHandler):
    """Says of every change that it is made; shows what it was asked with."""

    heard: ClassVar[list[str]] = []
    answer = ANSWER

    def do_PUT(self) -> None:
        self.heard.append(self.headers["Authorization"])
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def plane() -> Iterator[str]:
    Plane.heard, Plane.answer = [], ANSWER
    with ThreadingHTTPServer(("127.0.0.1", 0), Plane) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def put(
    url: str, folder: Path, stdout: int | None = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    file = folder / "flag.json"
    file.write_text("{}")
    command = [sys.executable, "-m", "controlplane", "flag", "put", "f", str(file)]
    environment = {**os.environ, "BROWNOUT_URL": url, "BROWNOUT_TOKEN": TOKEN, **variables}
    return subprocess.run(command, env=environment, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_terminal_that_knows_no_arrows_is_no_refusal(plane: str, tmp_path: Path, encoding: str) -> None:
    done = put(plane, tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, Plane.heard) == (0, [f"Bearer {TOKEN}"]), done.stderr
    assert done.stderr == b""


def test_a_full_disk_does_not_make_a_change_look_refused(plane: str, tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = put(plane, tmp_path, full.fileno())
    assert (done.returncode, len(Plane.heard)) == (0, 1), done.stderr
    assert b"done, but the answer could not be shown" in done.stderr


def test_nor_does_an_answer_that_this_version_cannot_read(plane: str, tmp_path: Path) -> None:
    Plane.answer = b'{"something":"newer"}'
    done = put(plane, tmp_path)
    assert (done.returncode, len(Plane.heard)) == (0, 1), done.stderr
    assert b"done, but the answer could not be shown" in done.stderr


def test_a_token_with_the_line_break_of_its_file_works(plane: str, tmp_path: Path) -> None:
    assert put(plane, tmp_path, BROWNOUT_TOKEN=f" {TOKEN}\n").returncode == 0
    assert Plane.heard == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize("token", [TOKEN + "\nX: y", TOKEN + " more", TOKEN + "é"])
def test_a_token_that_is_none_is_refused_and_not_repeated(plane: str, tmp_path: Path, token: str) -> None:
    done = put(plane, tmp_path, BROWNOUT_TOKEN=token)
    assert (done.returncode, Plane.heard) == (2, [])
    assert TOKEN[7:].encode() not in (done.stderr + (done.stdout or b""))
