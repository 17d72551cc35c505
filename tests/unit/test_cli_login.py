"""`brownout login` against a control plane that takes a password, then a code, then makes a token."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

from controlplane.cli import app, people

STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "/api/v1/session": ("first", {"stage": "factor", "csrf": "c1", "proofs": ["code"]}),
    "/api/v1/session/second-factor": ("second", {"stage": "in", "csrf": "c2"}),
    "/api/v1/tokens": ("", {"token": "bo_api_made"}),
}


class Plane(BaseHTTPRequestHandler):
    heard: ClassVar[list[tuple[str, str, str, str]]] = []
    stages: ClassVar[dict[str, tuple[str, dict[str, Any]]]] = STAGES

    def do_POST(self) -> None:
        self._heard()
        self.rfile.read(int(self.headers["Content-Length"]))
        cookie, body = self.stages.get(self.path, ("", {"detail": "wrong address or password"}))
        said = json.dumps(body).encode()
        self.send_response(201 if self.path in self.stages else 401)
        if cookie:
            self.send_header("Set-Cookie", f"__Host-brownout={cookie}; Path=/; Secure; HttpOnly")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def do_DELETE(self) -> None:
        self._heard()
        self.send_response(204)
        self.end_headers()

    def _heard(self) -> None:
        sent = self.headers
        self.heard.append((self.command, self.path, sent.get("Cookie", ""), sent.get("X-CSRF-Token", "")))

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setattr(people, "USER_FILE", tmp_path / "home" / "cli.json")
    monkeypatch.chdir(tmp_path)
    Plane.heard, Plane.stages = [], STAGES
    with ThreadingHTTPServer(("127.0.0.1", 0), Plane) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def login(url: str, *more: str, typed: str = "") -> Any:
    return CliRunner().invoke(app, ["login", url, "--email", "a@b.c", "--password", "p", *more], input=typed)


@pytest.mark.parametrize(("more", "typed"), [(("--code", "123456"), ""), ((), "123456\n")])
def test_it_sends_the_cookies_back_and_keeps_the_token(
    plane: str, tmp_path: Path, more: tuple[str, ...], typed: str
) -> None:
    done = login(plane, *more, typed=typed)
    assert done.exit_code == 0, done.output
    assert Plane.heard == [
        ("POST", "/api/v1/session", "", ""),
        ("POST", "/api/v1/session/second-factor", "__Host-brownout=first", "c1"),
        ("POST", "/api/v1/tokens", "__Host-brownout=second", "c2"),
        ("DELETE", "/api/v1/session", "__Host-brownout=second", "c2"),
    ]
    kept = tmp_path / "home" / "cli.json"
    assert json.loads(kept.read_text()) == {
        "url": plane, "token": "bo_api_made", "nats_url": "", "operator_pass": "",
    }  # fmt: skip
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "bo_api_made" not in done.output


def test_a_refusal_is_one_sentence(plane: str) -> None:
    Plane.stages = {}
    done = login(plane)
    assert (done.exit_code, done.output) == (1, "✗ wrong address or password\n")


def test_a_passkey_alone_needs_a_browser(plane: str) -> None:
    Plane.stages = {"/api/v1/session": ("x", {"stage": "factor", "csrf": "c", "proofs": ["passkey"]})}
    done = login(plane)
    assert (done.exit_code, "passkey needs a browser" in done.output) == (1, True)


def test_no_server_is_exit_code_3(plane: str) -> None:
    done = login("http://127.0.0.1:9")
    assert (done.exit_code, "does not answer" in done.output) == (3, True)
