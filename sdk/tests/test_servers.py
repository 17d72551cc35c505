"""Every way Python servers start processes: each worker is live, follows a commit, and the parent notices nothing."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sdk.tests.history import History
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess, free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
WORKERS = 2
PYTHON = sys.executable
UWSGI_PROGRAM = str(Path(sys.executable).parent / "uwsgi")
GUNICORN = [
    PYTHON,
    "-m",
    "gunicorn",
    "--preload",
    "--workers",
    "2",
    "--bind",
    "127.0.0.1:{port}",
    "sdk.tests.served:wsgi",
]
UWSGI = [
    UWSGI_PROGRAM,    "--master", "--processes", "2", "--http-socket", "127.0.0.1:{port}", "--die-on-term",
    "--module", "sdk.tests.served:wsgi", "--need-app", "--disable-logging",
]  # fmt: skip
UVICORN = [
    PYTHON,
    "-m",
    "uvicorn",
    "sdk.tests.served:asgi",
    "--workers",
    "2",
    "--port",
    "{port}",
    "--log-level",
    "warning",
]
GRANIAN = [
    PYTHON,
    "-m",
    "granian",
    "sdk.tests.served:asgi",
    "--interface",
    "asgi",
    "--workers",
    "2",
    "--port",
    "{port}",
]

SERVERS = {
    "gunicorn --preload": GUNICORN,
    "gunicorn --preload, gevent workers": [*GUNICORN[:4], "--worker-class", "gevent", *GUNICORN[4:]],
    "uwsgi --enable-threads": [*UWSGI, "--enable-threads"],
    "uwsgi without threads": UWSGI,
    "uwsgi --lazy-apps": [*UWSGI, "--enable-threads", "--lazy-apps"],
    "uwsgi --gevent": [*UWSGI, "--gevent", "10", "--gevent-monkey-patch"],
    "uvicorn workers": UVICORN,
    "granian workers": GRANIAN,
}


@contextmanager
def serving(command: list[str], publisher: LogPublisher, nats: NatsProcess) -> Iterator[int]:
    """Runs a server on the service of sdk/tests/served.py; yields its port. It must end quietly when told to."""
    port = free_port()
    settings = {
        "BROWNOUT_NATS_URL": nats.url,
        "BROWNOUT_SDK_KEY": publisher.history.sdk_key,
        "BROWNOUT_ENVIRONMENT": publisher.history.environment,
        "BROWNOUT_SERVICE": "served",
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        [part.format(port=port) for part in command],
        env=os.environ | settings,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield port
        process.terminate()
        output = process.communicate(timeout=PATIENCE_S)[0].decode()
        assert "Traceback" not in output, output
        assert "never awaited" not in output, output
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            print(process.communicate()[0].decode())


def ask(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
        found: dict[str, Any] = json.load(response)
        return found


def every_worker(port: int, *, revision: int) -> dict[int, dict[str, Any]]:
    """What each worker answers, once all of them have answered at `revision`."""
    found: dict[int, dict[str, Any]] = {}
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            answer = ask(port)
        except OSError:
            time.sleep(0.05)
            continue
        if answer["revision"] == revision and answer["sync"] == "LIVE":
            found[answer["pid"]] = answer
            if len(found) == WORKERS:
                return found
    raise AssertionError(f"only {found} answered at {revision}; the last answer was {answer}")


def reported(publisher: LogPublisher, pid: int, revision: int) -> None:
    """Returns when process `pid` has reported to the control plane that it is at `revision`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if any(f"-{pid}-" in seen.instance and seen.rev == revision for seen in list(publisher.presence)):
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} never reported revision {revision}")


@pytest.mark.parametrize("server", SERVERS)
def test_each_worker_is_live_and_follows_and_the_parent_is_undisturbed(
    server: str, publisher: LogPublisher, history: History, shared_nats: NatsProcess
) -> None:
    with serving(SERVERS[server], publisher, shared_nats) as port:
        before = every_worker(port, revision=3)
        assert {answer["first"] for answer in before.values()} == {False}
        publisher.set_flag("first", on=True)
        after = every_worker(port, revision=4)
        assert {answer["first"] for answer in after.values()} == {True}
        assert set(after) == set(before)
        for pid in after:
            reported(publisher, pid, 4)
        parents = {answer["imported_in"] for answer in after.values()} - set(after)
        if server.startswith("gunicorn"):
            assert len(parents) == 1
            reported(publisher, parents.pop(), 4)
