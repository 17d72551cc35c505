"""`brownout serve` on servers of somebody else's."""

import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from anyio import to_thread

from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.processes import free_port
from tests.e2e.brownout_up import CLI, ROOT, environment, refused
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio


async def test_migrate_then_serve_then_end(empty_database: str, nats_server: EmbeddedNats, tmp_path: Path) -> None:
    settings = {
        "BROWNOUT_DATABASE_URL": empty_database,
        "BROWNOUT_NATS_URL": nats_server.url,
        "BROWNOUT_SECRET_KEY": SECRET_KEY,
        "BROWNOUT_PORT": str(free_port()),
    }
    await to_thread.run_sync(migrate_then_serve_then_end, settings, tmp_path / "log")


def migrate_then_serve_then_end(settings: dict[str, str], log: Path) -> None:
    assert "run `brownout migrate`" in refused("serve", prefix=["env", *(f"{k}={v}" for k, v in settings.items())])
    migrated = subprocess.run(
        [*CLI, "migrate"], capture_output=True, check=False, cwd=ROOT, env=environment() | settings, timeout=120
    )
    assert migrated.returncode == 0, migrated.stderr.decode()
    assert b"the database is at schema" in migrated.stdout
    with log.open("wb") as out:
        serving = subprocess.Popen([*CLI, "serve"], stdout=out, stderr=out, cwd=ROOT, env=environment() | settings)
    try:
        deadline = time.monotonic() + 60
        while not answers(settings["BROWNOUT_PORT"]):
            assert serving.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(30) == 0
    finally:
        if serving.poll() is None:
            serving.kill()
    assert "Traceback" not in log.read_text()
    assert SECRET_KEY not in log.read_text()


def answers(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
