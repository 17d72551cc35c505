"""`brownout up`: starts, ends, comes back, and says clearly when it cannot."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from brownout import Brownout
from controlplane.embedded.data_dir import FORMAT
from controlplane.embedded.identity import FREE
from tests.e2e.brownout_up import AS_NOBODY, CAN_BE_NOBODY, CLI, NOBODY, ROOT, BrownoutUp, environment, refused


def unshared(mount: str, at: Path) -> list[str]:
    """Runs what follows with a file system of its own mounted at `at`."""
    at.mkdir(exist_ok=True)
    return ["unshare", "-m", "sh", "-c", f'mount -t tmpfs {mount} tmpfs "$0" && exec "$@"', str(at)]


def can_mount() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(sys.platform != "linux" or not can_mount(), reason="cannot mount a file system here")


@pytest.mark.parametrize("prefix", [(), AS_NOBODY], ids=["as-we-are", "as-nobody"])
def test_it_starts_serves_and_leaves_nothing_behind(folder: Path, prefix: list[str]) -> None:
    if prefix and not CAN_BE_NOBODY:
        pytest.skip("only root can become nobody")
    data = folder / "data"
    with BrownoutUp(data, prefix=prefix) as up:
        assert [e["key"] for e in up.json("env", "list")["items"]] == ["production", "staging"]
        for secret in ("cli.json", "sdk-keys.json", "secrets.json", "nats-secrets.json"):
            assert stat.S_IMODE((data / secret).stat().st_mode) == 0o600
        assert data.stat().st_uid == (NOBODY if prefix else os.geteuid())
        children = up.children()
        assert len(children) >= 2
        up.process.send_signal(signal.SIGINT)  # impatient: asked twice, it ends no less cleanly
        assert up.stop(signal.SIGINT) == 0
        assert "Traceback" not in up.log.read_text()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []


def test_flipping_safe_mode_reaches_a_live_sdk(folder: Path) -> None:
    with BrownoutUp(folder / "data") as up:
        up.load_demo_configuration()
        client = Brownout.connect(
            up.target["nats_url"], key=up.sdk_keys["production"], environment="production", service="e2e", disk=False
        )
        with client:
            assert client.wait_configured(10)
            assert client.boolean("web-search", {"plan": "pro"}) is True
            applied = Applied(client)
            on = up.json("safe-mode", "on", "contain", "--for", "5m", "--reason", "e2e")
            applied.wait(on["commit"]["revision"])
            assert client.boolean("web-search", {"plan": "pro"}) is False
            assert client.policy("support-reply").safe_mode.profiles == ("contain",)
            off = up.json("safe-mode", "off")
            applied.wait(off[0]["commit"]["revision"])
            assert client.boolean("web-search", {"plan": "pro"}) is True


@pytest.mark.skipif(os.geteuid() != 0, reason="others can walk to what is theirs")
def test_below_a_closed_parent_everything_is_in_the_directory(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    data = closed / "data"
    with BrownoutUp(data) as up:
        made = up.json("safe-mode", "on", "contain", "--for", "1h", "--reason", "survives")
        running = {child.name(): child for child in up.children()}
        postgres, nats = running["postgres"], running["nats-server"]
        assert postgres.cwd() == str(data / "postgres" / "data")
        assert nats.cwd() == str(data / "nats" / "jetstream")
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        up.stop(signal.SIGKILL)
    with BrownoutUp(data) as again:
        assert [a["key"] for a in again.json("safe-mode", "status")["active"]] == [made["key"]]


@pytest.mark.skipif(not CAN_BE_NOBODY, reason="only root can become somebody")
def test_as_root_each_server_has_a_user_of_its_own_and_others_read_nothing(folder: Path) -> None:
    data = folder / "data"
    data.mkdir(mode=0o755)  # somebody made it for everybody to look into
    with BrownoutUp(data) as up:
        running = {child.name(): child for child in up.children()}
        users = [running[name].uids() for name in ("postgres", "nats-server")]
        assert all(each.real == each.effective == each.saved for each in users)
        assert all(each.real in FREE for each in users)
        assert users[0].real != users[1].real
        assert [running[name].gids().real in FREE for name in ("postgres", "nats-server")] == [True, True]
        theirs = {owner: _readable(data, owner) for owner in (NOBODY, *(each.real for each in users))}
        assert theirs == {NOBODY: "", users[0].real: "", users[1].real: ""}, "not even a server walks down to its data"
        made = up.json("safe-mode", "on", "contain", "--for", "1h", "--reason", "survives")
    with BrownoutUp(data) as again:
        assert [a["key"] for a in again.json("safe-mode", "status")["active"]] == [made["key"]]
        running = {child.name(): child for child in again.children()}
        assert [running[name].uids() for name in ("postgres", "nats-server")] == users


def _readable(data: Path, user: int) -> str:
    """The files below `data` that `user` can read."""
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--bounding-set=-all"]
    found = subprocess.run(
        [*become, "find", str(data), "-type", "f", "-readable"], capture_output=True, text=True, check=False, cwd="/"
    )
    return found.stdout


def test_killed_it_comes_back_with_everything_on_the_same_ports(folder: Path) -> None:
    data = folder / "data"
    up = BrownoutUp(data).start()
    made = up.json("safe-mode", "on", "contain", "--for", "1h", "--reason", "survives")
    before, keys = up.target, up.sdk_keys
    up.stop(signal.SIGKILL)
    with BrownoutUp(data) as again:
        assert again.target["nats_url"] == before["nats_url"]
        assert again.sdk_keys == keys
        assert [a["key"] for a in again.json("safe-mode", "status")["active"]] == [made["key"]]
        assert again.json("history", "verify")["broken"] is None


def test_without_postgres_it_ends_with_a_sentence(folder: Path) -> None:
    with BrownoutUp(folder / "data") as up:
        next(child for child in up.children() if child.name() == "postgres").kill()
        assert up.process.wait(30) == 1
        assert "has ended by itself" in up.log.read_text().splitlines()[-1]


def test_under_a_path_of_any_letters_nats_is_started_again_and_changes_arrive(folder: Path) -> None:
    with BrownoutUp(folder / 'dátá "中文"') as up:
        next(child for child in up.children() if child.name() == "nats-server").kill()
        key = up.sdk_keys["production"]
        with Brownout.connect(up.target["nats_url"], key=key, environment="production", disk=False) as client:
            assert client.wait_ready(60)
            up.json("safe-mode", "on", "contain", "--for", "1h", "--reason", "nats came back")
        assert up.process.poll() is None


def test_a_second_one_on_the_same_directory_is_refused(folder: Path) -> None:
    data = folder / "data"
    with BrownoutUp(data) as up:
        assert f"already runs on {data} (process {up.process.pid})" in refused("up", "--data-dir", data)


def test_a_busy_port_is_refused(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for option in ("--port", "--postgres-port", "--nats-port"):
            assert f"port {port} on 127.0.0.1 is already in use" in refused(
                "up", "--data-dir", folder / "d", option, str(port)
            )


def test_a_directory_of_a_newer_version_is_refused(folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    (data / "format").write_text(f"{FORMAT + 1}\n")
    assert "newer Brownout" in refused("up", "--data-dir", data)


@needs_mount
def test_a_read_only_directory_is_refused(folder: Path) -> None:
    at = folder / "readonly"
    assert "Read-only file system" in refused("up", "--data-dir", at / "data", prefix=unshared("-o ro", at))


@pytest.mark.skipif(not CAN_BE_NOBODY, reason="only root can become nobody")
def test_somebody_elses_directory_is_refused(folder: Path) -> None:
    data = folder / "data"
    data.mkdir(mode=0o755)
    assert "Permission denied" in refused("up", "--data-dir", data, prefix=AS_NOBODY)


@needs_mount
def test_a_full_disk_is_refused(folder: Path) -> None:
    at = folder / "small"
    said = refused("up", "--data-dir", at / "data", prefix=unshared("-o size=50m", at))
    assert "not enough space" in said


def test_a_damaged_secret_is_refused(folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    for file in ("nats-secrets.json", "ports.json", "secrets.json"):
        (data / file).write_text("{")
        assert f"{file} is damaged" in refused("up", "--data-dir", data)
        (data / file).unlink()


def test_serve_names_every_missing_setting() -> None:
    said = refused("serve")
    for name in ("BROWNOUT_DATABASE_URL", "BROWNOUT_NATS_URL", "BROWNOUT_SECRET_KEY"):
        assert name in said


def test_migrate_refuses_a_database_that_does_not_answer(folder: Path) -> None:
    env = {**environment(), "BROWNOUT_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/none"}
    done = subprocess.run([*CLI, "migrate"], capture_output=True, check=False, cwd=ROOT, env=env, timeout=60)
    assert done.returncode == 1
    assert b"the database does not answer" in done.stderr


class Applied:
    """Waits for a revision without asking again and again."""

    def __init__(self, client: Brownout) -> None:
        from threading import Condition

        self._client = client
        self._changed = Condition()
        client.on_change(lambda _: self._notify())

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait(self, revision: int, timeout_s: float = 10) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._client.status.revision >= revision, timeout_s)
