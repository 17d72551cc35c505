"""The HTTP client of the command line, against real sockets: proxies, TLS, redirects, and what it says of a failure."""

import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from controlplane.cli.client import Client, NoAnswerError


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked; `/moved` sends elsewhere, `/cut` hangs up in the middle."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        said = f"{self.command} {self.path} {self.headers.get('Content-Type')} ".encode() + self.rfile.read(length)
        self.send_response(302 if self.path == "/moved" else 404 if self.path == "/none" else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Set-Cookie", "a=1; Path=/")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Content-Length", str(len(said) + (9 if self.path == "/cut" else 0)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_DELETE = do_CONNECT = _answer  # noqa: N815 - the names are the server's

    def log_message(self, *_: object) -> None:
        """Says nothing."""


Serve = Callable[..., str]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def serve() -> Iterator[Serve]:
    running: list[ThreadingHTTPServer] = []

    def start(authority: trustme.CA | None = None) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def test_what_is_sent_and_what_comes_back(serve: Serve) -> None:
    client = Client(f"http://{serve()}/api", {"Authorization": "Bearer x"})
    found = client.request("GET", "/flags", params={"search": "a b&c", "limit": 3})
    assert (found.status, found.ok, found.content) == (200, True, b"GET /api/flags?search=a+b%26c&limit=3 None ")
    assert client.send("POST", "/x", {"a": "é"}).content.decode() == 'POST /api/x application/json {"a":"é"}'
    assert client.request("DELETE", "/x").content == b"DELETE /api/x None "
    assert found.headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2"]
    assert found.headers["location"] == "/elsewhere"


def test_a_refusal_is_an_answer_and_a_redirect_is_not_followed(serve: Serve) -> None:
    client = Client(f"http://{serve()}")
    assert (client.request("GET", "/none").status, client.request("GET", "/none").ok) == (404, False)
    assert client.request("GET", "/moved").status == 302


def test_a_proxy_of_the_environment_is_used_and_no_proxy_spares_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = serve()
    monkeypatch.setenv("HTTP_PROXY", f"http://{serve()}")
    assert Client("http://brownout.invalid").request("GET", "/x").content == b"GET http://brownout.invalid/x None "
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert Client(f"http://{direct}").request("GET", "/x").content == b"GET /x None "


def test_tls_trusts_the_authority_that_the_environment_names(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    url = f"https://{serve(authority)}"
    with pytest.raises(NoAnswerError, match="certificate verify failed"):
        Client(url).request("GET", "/x")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert Client(url).request("GET", "/x").content == b"GET /x None "


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:9", "Connection refused"),
        ("http://127.0.0.1:port", "nonnumeric port"),
        ("nonsense", "unknown url type"),
        ("file:///etc/passwd", "unknown url type"),
        ("http://127.0.0.1:9/\n", "control characters"),
        ("http://" + "ü" * 70, "label"),
    ],
)
def test_what_gives_no_answer_says_why(url: str, says: str) -> None:
    with pytest.raises(NoAnswerError, match=says):
        Client(url).request("GET", "/x")


def test_a_connection_that_ends_in_the_middle_is_no_answer(serve: Serve) -> None:
    with pytest.raises(NoAnswerError):
        Client(f"http://{serve()}").request("GET", "/cut")


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(NoAnswerError, match="timed out"):
        Client(f"http://127.0.0.1:{silent.getsockname()[1]}").request("GET", "/x", timeout_s=0.05)


def test_no_secret_is_in_what_it_says() -> None:
    options: dict[str, Any] = {"headers": {"Authorization": "Bearer bo_api_secret"}}
    with pytest.raises(NoAnswerError) as refused:
        Client("http://127.0.0.1:9").request("GET", "/x", **options)
    assert "secret" not in str(refused.value)
