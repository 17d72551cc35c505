"""What a client promises its service: settings, status, callbacks, expiry and silence in the logs."""

import asyncio
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import brownout
from brownout import Brownout, Change, ConfigurationError, Source, State, Status
from brownout._sync import engine, log, watchdog
from brownout._sync.disk import DiskCopy
from brownout._sync.replica import Replica
from brownout._sync.serving import Serving
from brownout._sync.sink import Resources
from brownout.config import configure
from brownout.errors import BundleError
from brownout.evaluation.compile import Compiled
from brownout.status import Counters
from brownout.wire.bundle import MAGIC, pack, read, unpack, write
from sdk.tests.history import History, put
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess
from sdk.tests.waiting import PATIENCE_S, eventually, follows

NOTHING = dict.fromkeys(
    ["urls", "key", "environment", "service", "disk", "bundle", "stale_after_s", "domain", "tls"]
)  # fmt: skip


@pytest.fixture
def client(publisher: LogPublisher, history: History, shared_nats: NatsProcess) -> Iterator[Brownout]:
    options = {"key": history.sdk_key, "environment": history.environment, "service": "shop", "disk": False}
    with Brownout.connect(shared_nats.url, **options) as running:
        follows(running, history.revision)
        yield running


def test_every_setting_can_come_from_the_environment(history: History) -> None:
    variables = {
        "BROWNOUT_NATS_URL": "nats://one:4222, nats://two:4222",
        "BROWNOUT_SDK_KEY": history.sdk_key,
        "BROWNOUT_ENVIRONMENT": "production",
        "BROWNOUT_SERVICE": "shop",
        "BROWNOUT_DISK": "/var/cache/shop",
        "BROWNOUT_BUNDLE": "/etc/shop.bundle",
        "BROWNOUT_STALE_AFTER_S": "12.5",
    }
    config = configure(**NOTHING, variables=variables)
    assert config.urls == ("nats://one:4222", "nats://two:4222")
    assert (config.environment, config.service, config.stale_after_s) == ("production", "shop", 12.5)
    assert (config.disk, config.bundle) == (Path("/var/cache/shop/production-k1.bundle"), Path("/etc/shop.bundle"))
    assert configure(**NOTHING | {"service": "given"}, variables=variables).service == "given"
    assert configure(**NOTHING, variables=variables | {"BROWNOUT_DISK": "off"}).disk is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"urls": None}, "BROWNOUT_NATS_URL"),
        ({"urls": " , "}, "BROWNOUT_NATS_URL"),
        ({"urls": "nats://one,https://brownout.example"}, "'https://brownout.example' is not NATS's"),
        ({"environment": None}, "BROWNOUT_ENVIRONMENT"),
        ({"environment": "No Such"}, "environment"),
        ({"key": "bo_sdk_very-secret"}, "not an SDK key"),
        ({"stale_after_s": 0}, "above zero"),
    ],
)
def test_a_wrong_setting_is_named_and_a_secret_is_not(history: History, wrong: dict[str, Any], said: str) -> None:
    good = {"urls": "nats://one", "key": history.sdk_key, "environment": "production"}
    with pytest.raises(ConfigurationError, match=said) as caught:
        configure(**NOTHING | good | wrong, variables={})
    assert "very-secret" not in str(caught.value)
    assert "ssss" not in repr(configure(**NOTHING | good, variables={}))


def test_the_public_names_are_few_and_all_there() -> None:
    assert sorted(brownout.__all__) == [
        "Brownout", "BundleError", "Change", "ConfigurationError", "Counters", "Decision", "ErrorCode", "Held",
        "Policy", "Reason", "Source", "State", "Status", "SyncState",
    ]  # fmt: skip
    assert all(hasattr(brownout, name) for name in brownout.__all__)


def test_importing_loads_nothing_that_only_a_sync_needs() -> None:
    script = "import sys, brownout; print(sorted({'asyncio', 'nats', 'cryptography', 'ssl'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_turns_stale_when_nobody_confirms_it_and_ready_again(own_nats: NatsProcess, history: History) -> None:
    options = {"key": history.sdk_key, "environment": history.environment, "disk": False, "stale_after_s": 0.5}
    with LogPublisher(own_nats.url, history) as publisher, Brownout.connect(own_nats.url, **options) as client:
        told: list[Status] = []
        assert client.wait_ready(PATIENCE_S)
        client.on_status(told.append)
        own_nats.stop(kill=True)
        eventually(client, lambda: client.status.state is State.STALE)
        age = client.status.age_s
        assert age is not None
        assert age > 0.5
        assert client.boolean("second") is True
        own_nats.start()
        publisher.reopen()
        eventually(client, lambda: client.status.state is State.READY)
        eventually(client, lambda: told[-1].state is State.READY)
        assert State.STALE in {status.state for status in told}


def test_an_activation_ends_on_time_when_nats_is_gone(own_nats: NatsProcess, history: History) -> None:
    options = {"key": history.sdk_key, "environment": history.environment, "disk": False}
    with LogPublisher(own_nats.url, history) as publisher, Brownout.connect(own_nats.url, **options) as client:
        assert client.wait_ready(PATIENCE_S)
        publisher.commit(*incident(history.now(), timedelta(seconds=1)))
        follows(client, history.revision)
        expired = threading.Event()
        client.on_change(lambda change: expired.set() if change.cause == "expiry" else None)
        assert client.decide("model", default="").metadata == {"safe_mode": "now"}
        own_nats.stop(kill=True)
        assert expired.wait(PATIENCE_S)
        assert client.string("model") == "large"


def test_safe_mode_expires_although_other_steps_of_the_watch_fail(
    client: Brownout, publisher: LogPublisher, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    for step in ("_supervise", "_look_at_the_clock"):
        monkeypatch.setattr(client._engine, step, fail)
    publisher.commit(*incident(history.now(), timedelta(seconds=1)))
    follows(client, history.revision)
    eventually(client, lambda: client.string("model") == "large")


def incident(now: datetime, lasts: timedelta) -> list[Any]:
    flag = {
        "type": "string", "enabled": True, "variants": {"large": "large", "small": "small"}, "off_variant": "small",
        "rules": [], "default": "large", "safe_variant": "small",
    }  # fmt: skip
    profile = {"serve_safe_variant": ["*"]}
    activation = {
        "profile": "contain",
        "scope": {"services": [], "request_classes": [], "cohorts": [], "providers": []},
        "reason": "a test",
        "actor": "ana",
        "activated_at": now.isoformat(),
        "expires_at": (now + lasts).isoformat(),
        "on_expiry": "lift",
    }
    specs = {("flag", "model"): flag, ("safe_mode_profile", "contain"): profile}
    specs["safe_mode_activation", "now"] = activation
    return [put(key, msgspec.json.encode(spec), kind) for (kind, key), spec in specs.items()]


@pytest.mark.parametrize("fault", [RuntimeError("a fault of the service"), SystemExit(1), asyncio.CancelledError()])
def test_a_callback_that_fails_is_logged_and_the_others_run(
    client: Brownout, publisher: LogPublisher, caplog: pytest.LogCaptureFixture, fault: BaseException
) -> None:
    seen: list[Change] = []
    told = threading.Event()

    def fail(_change: Change) -> None:
        raise fault

    client.on_change(fail)
    client.on_change(seen.append)
    client.on_change(lambda _: told.set())
    publisher.set_flag("first", on=True)
    assert told.wait(PATIENCE_S)
    assert [(change.cause, [ref.key for ref in change.resources]) for change in seen] == [("commit", ["first"])]
    assert "a callback failed" in caplog.text


def test_a_callback_may_close_the_client(client: Brownout, publisher: LogPublisher) -> None:
    closed = threading.Event()

    def close(_change: Change) -> None:
        client.close()
        closed.set()

    client.on_change(close)
    publisher.set_flag("first", on=True)
    assert closed.wait(PATIENCE_S)
    assert client.status.sync == "CLOSED"
    assert client.boolean("first") is True


def test_a_stalled_sync_thread_is_replaced(
    client: Brownout, publisher: LogPublisher, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "STALLED_S", 0.2)
    monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(engine, "TICK_S", 0.05)
    release = threading.Event()
    updater = client._engine._updater
    assert updater
    assert updater._loop
    updater._loop.call_soon_threadsafe(release.wait, PATIENCE_S)
    eventually(client, lambda: client.status.counters.restarts >= 1)
    monkeypatch.setattr(watchdog, "STALLED_S", PATIENCE_S)
    publisher.set_flag("first", on=True)
    follows(client, history.revision)
    assert client.boolean("first") is True
    release.set()
    updater._thread.join(PATIENCE_S)
    assert not updater.is_alive()


def test_an_activation_that_a_wrong_clock_ended_applies_again_when_the_clock_is_put_right() -> None:
    changes: list[Change] = []
    now = datetime(2026, 9, 1, tzinfo=UTC)
    serving = Serving("production", Compiled.load("production", 0, {}), lambda _: None, changes.append, lambda: now)
    spec = {"profile": "calm", "reason": "r", "actor": "a", "activated_at": now.isoformat(),
            "expires_at": (now + timedelta(hours=1)).isoformat()}  # fmt: skip
    profile, activation = (msgspec.json.encode(each) for each in ({"max_attempts": 1}, spec))
    serving.load(1, [[("safe_mode_profile", "calm", profile), ("safe_mode_activation", "on", activation)]])

    serving.expire(now + timedelta(days=1))
    assert serving.compiled.active == ()
    serving.expire(now)

    assert [each.key for each in serving.compiled.active] == ["on"]
    assert serving.expires_at == now + timedelta(hours=1)
    assert [change.cause for change in changes] == ["snapshot", "expiry", "expiry"]


def test_a_fork_releases_what_it_held_although_the_sync_thread_was_replaced_meanwhile(client: Brownout) -> None:
    moving = client._engine
    before = moving._replica
    assert moving.hold_still(PATIENCE_S)
    assert moving._updater
    moving._replace(moving._updater, "a test")
    moving.move_on()
    assert before.lock.acquire(blocking=False)
    before.lock.release()


def test_errors_are_logged_once_for_a_key_and_kind(client: Brownout, caplog: pytest.LogCaptureFixture) -> None:
    log._said.clear()
    with caplog.at_level(logging.WARNING, logger="brownout"):
        for _ in range(3):
            client.boolean("no-such-flag")
            client.string("second")
            client.decide("no-such-flag", {}, "")
            client.policy("no-such-class")
    assert [record.getMessage() for record in caplog.records] == [
        "flag 'no-such-flag': callers get the default: FLAG_NOT_FOUND",
        "flag 'second': callers get the default: TYPE_MISMATCH",
        "request class 'no-such-class': callers get the default: FLAG_NOT_FOUND",
    ]


def test_a_client_that_holds_nothing_says_so_in_every_decision(history: History) -> None:
    options = {"key": history.sdk_key, "environment": history.environment, "disk": False}
    with Brownout.connect("nats://127.0.0.1:1", **options) as client:
        decision = client.decide("first", default=True)
        assert (decision.value, decision.error_code) == (True, "PROVIDER_NOT_READY")
        assert client.policy("support-reply").error_code == "PROVIDER_NOT_READY"
        assert client.status.state is State.NOT_READY
        assert not client.wait_ready(0.01)


def test_a_closed_client_is_not_ready_and_still_configured(client: Brownout) -> None:
    assert client.wait_ready(PATIENCE_S)
    assert client.status.configured
    client.close()
    assert (client.status.state, client.wait_ready(0), client.wait_configured(0)) == (State.STALE, False, True)
    assert client.boolean("second") is True


def test_one_process_writes_the_disk_copy_until_it_ends(history: History, tmp_path: Path) -> None:
    replica = Replica(history.environment, history.verifier(), Resources(), Counters())
    replica.restore(*history.snapshot())
    path = tmp_path / "cache" / "copy.bundle"
    first, second = DiskCopy(path), DiskCopy(path)
    first.keep(replica)
    replica.offer(history.set_flag("more", on=True))
    second.keep(replica)
    assert len(read(path).tail) == 0
    first.release()
    second.keep(replica)
    assert len(read(path).tail) == 1
    assert path.stat().st_mode & 0o077 == 0
    second.release()


def test_a_cache_that_cannot_be_written_costs_nothing_but_a_word(
    publisher: LogPublisher, history: History, shared_nats: NatsProcess, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    options = {"key": history.sdk_key, "environment": history.environment, "disk": tmp_path / "file" / "below"}
    with Brownout.connect(shared_nats.url, **options) as client:
        follows(client, history.revision)
        eventually(client, lambda: "NotADirectoryError" in client.status.last_error)
        assert client.status.source is Source.NATS


def test_a_bundle_comes_back_as_it_was_and_rubbish_does_not(history: History, tmp_path: Path) -> None:
    bundle = history.bundle(tail=(history.set_flag("x", on=True),), head=history.heartbeat())
    write(tmp_path / "b", bundle)
    assert read(tmp_path / "b") == bundle
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]
    for rubbish in (b"", b"{}", MAGIC, MAGIC + b"\xc1", pack(bundle)[:-1]):
        with pytest.raises(BundleError):
            unpack(rubbish)


def test_a_bundle_without_a_pinned_key_needs_keys_of_its_own(history: History, tmp_path: Path) -> None:
    write(tmp_path / "b", history.bundle())
    with pytest.raises(BundleError, match="pass key="):
        Brownout.offline(tmp_path / "b")
    links = history.rotate()
    write(tmp_path / "b", msgspec.structs.replace(history.bundle(), keys=links))
    with Brownout.offline(tmp_path / "b") as client:
        assert client.boolean("second") is True
    with pytest.raises(BundleError):
        Brownout.offline(tmp_path / "b", key=History("x", seed=b"another").sdk_key)


def test_a_name_that_does_not_resolve_in_time_holds_nothing_up(
    publisher: LogPublisher, history: History, shared_nats: NatsProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()
    resolve = socket.getaddrinfo

    def slow(host: str, *rest: Any) -> Any:
        asked.set()
        answer.wait(PATIENCE_S)
        return resolve(host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    options = {"key": history.sdk_key, "environment": history.environment, "disk": False}
    url = shared_nats.url.replace("127.0.0.1", "localhost")
    with Brownout.connect(url, **options) as hopeless:
        assert asked.wait(PATIENCE_S)
        updater = hopeless._engine._updater
        assert updater
    assert not updater.is_alive()
    answer.set()
    with Brownout.connect(url, **options) as client:
        assert client.wait_ready(PATIENCE_S)


def test_a_log_handler_that_raises_costs_no_answer(client: Brownout) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002
            raise RuntimeError

    broken = Broken()
    log.log.addHandler(broken)
    try:
        assert client.boolean("never-heard-of-by-a-broken-handler", default=True) is True
        assert client.policy("never-heard-of-by-a-broken-handler").error_code == "FLAG_NOT_FOUND"
    finally:
        log.log.removeHandler(broken)
