"""Forked and spawned processes, Celery's pool, gevent, and ends of processes: live everywhere, and nothing left behind."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brownout import Brownout
from sdk.tests.forking import connect_and_follow, follow
from sdk.tests.history import History
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess
from sdk.tests.waiting import PATIENCE_S, follows

ROOT = Path(__file__).parents[2]
DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def options(history: History, shared_nats: NatsProcess) -> dict[str, Any]:
    return {"url": shared_nats.url, "key": history.sdk_key, "environment": history.environment, "disk": False}


@pytest.fixture
def client(publisher: LogPublisher, options: dict[str, Any]) -> Iterator[Brownout]:
    with Brownout.connect(**options) as running:
        follows(running, 3)
        yield running


def settings(options: dict[str, Any]) -> dict[str, str]:
    return os.environ | {
        "BROWNOUT_NATS_URL": options["url"],
        "BROWNOUT_SDK_KEY": options["key"],
        "BROWNOUT_ENVIRONMENT": options["environment"],
        "BROWNOUT_DISK": "off",
        "PYTHONPATH": str(ROOT),
    }


def run_script(script: str, options: dict[str, Any], *flags: str) -> subprocess.CompletedProcess[str]:
    """Runs a program with every warning an error; whatever it leaves open is said on stderr."""
    command = [sys.executable, "-X", "dev", "-W", "error", *flags, "-c", textwrap.dedent(script)]
    return subprocess.run(
        command, env=settings(options), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S * 2, check=False
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_follow_under_names_of_their_own_and_the_parent_is_undisturbed(
    method: str, client: Brownout, publisher: LogPublisher, options: dict[str, Any]
) -> None:
    context = multiprocessing.get_context(method)
    started, go, results = context.Semaphore(0), context.Semaphore(0), context.Queue()
    subject: Any = client if method == "fork" else options
    target = follow if method == "fork" else connect_and_follow
    children = [context.Process(target=target, args=(subject, started, go, results, 3)) for _ in range(3)]
    for child in children:
        child.start()
    for _ in children:
        assert started.acquire(timeout=PATIENCE_S)
    publisher.set_flag("first", on=True)
    for _ in children:
        go.release()
    found = [results.get(timeout=PATIENCE_S) for _ in children]
    for child in children:
        child.join(PATIENCE_S)
    assert [first for _, _, first, _ in found] == [True, True, True]
    assert {restarts for *_, restarts in found} == {0}
    assert len({instance for _, instance, _, _ in found} | {client.status.instance}) == 4
    follows(client, 4)
    assert client.status.counters.reconnects == 0
    publisher.set_flag("first", on=False)
    follows(client, 5)
    assert client.boolean("first") is False


def test_a_fork_made_in_c_is_noticed_and_a_master_that_makes_them_runs_no_thread_meanwhile(
    publisher: LogPublisher, options: dict[str, Any]
) -> None:
    done = run_script(
        """
        import ctypes, os, sys, threading, types
        master = types.SimpleNamespace(worker_id=lambda: 0, masterpid=lambda: 1, opt={"enable-threads": True})
        sys.modules["uwsgi"] = master
        from brownout import Brownout
        client = Brownout.connect()
        assert client.wait_ready(20) and client.status.revision == 3
        assert threading.active_count() == 1
        child = ctypes.PyDLL(None).fork()
        if child == 0:
            master.worker_id = lambda: 1
            named = str(os.getpid()) in client.status.instance
            alive = threading.active_count() > 1
            client.close()
            os._exit(0 if named and alive else 1)
        assert os.waitpid(child, 0)[1] == 0
        """,
        options,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_celery_prefork_workers_follow(publisher: LogPublisher, options: dict[str, Any], tmp_path: Path) -> None:
    environment = settings(options) | {"CELERY_FOLDER": str(tmp_path)}
    command = [sys.executable, "-m", "celery", "-A", "sdk.tests.celery_app", "worker", "--pool", "prefork"]
    worker = subprocess.Popen(
        [*command, "--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat"],
        env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        ask = """
            import time
            from sdk.tests.celery_app import client, decide
            client.close()
            found = {}
            while len(found) < 2:
                answers = [task.get(timeout=20) for task in [decide.delay() for _ in range(4)]]
                found |= {answer["pid"]: answer["first"] for answer in answers if answer["revision"] == %d}
            print(sorted(found.values()))
        """
        assert asked(ask % 3, environment) == "[False, False]"
        publisher.set_flag("first", on=True)
        assert asked(ask % 4, environment) == "[True, True]"
    finally:
        worker.terminate()
        worker.wait(PATIENCE_S)


def asked(script: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_process_patched_by_gevent_follows_while_a_greenlet_hogs_it(
    publisher: LogPublisher, options: dict[str, Any]
) -> None:
    done = run_script(
        """
        from gevent import monkey
        monkey.patch_all()
        import asyncio, threading, time
        import gevent
        from brownout import Brownout
        client = Brownout.connect()
        assert client.wait_ready(20)
        changed = threading.Event()
        client.on_change(lambda change: changed.set())
        until = time.perf_counter() + 0.5
        while time.perf_counter() < until:  # never yields to the hub
            client.boolean("first")
        assert client.status.age_s < 0.5
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            print("no loop here")
        child = gevent.os.fork()
        if child == 0:
            fine = client.wait_ready(20)
            client.close()
            import os
            os._exit(0 if fine else 1)
        assert gevent.os.waitpid(child, 0)[1] == 0
        client.close()
        """,
        options,
        "-W",
        "ignore::DeprecationWarning",
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "no loop here", "")


@pytest.mark.parametrize("end", ["client.close()", "pass", "raise SystemExit(0)", "client.close(); client.close()"])
def test_ends_without_a_thread_a_socket_or_a_warning(
    end: str, publisher: LogPublisher, options: dict[str, Any]
) -> None:
    done = run_script(
        f"""
        import threading
        from brownout import Brownout
        client = Brownout.connect()
        assert client.wait_ready(20)
        {end}
        assert threading.active_count() == 1 or "close" not in {end!r}
        """,
        options,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_exit_is_quiet_while_it_is_still_connecting(options: dict[str, Any]) -> None:
    started = time.monotonic()
    done = run_script("from brownout import Brownout\nclient = Brownout.connect('nats://192.0.2.1:4222')", options)
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - started < PATIENCE_S


def test_nothing_is_left_open_here_either(options: dict[str, Any], publisher: LogPublisher) -> None:
    threads, descriptors = threading.active_count(), len(list(DESCRIPTORS.iterdir()))
    for _ in range(5):
        client = Brownout.connect(**options)
        assert client.wait_ready(PATIENCE_S)
        client.close()
    assert threading.active_count() == threads
    assert len(list(DESCRIPTORS.iterdir())) <= descriptors
