"""A client's threads import nothing and build no decoder: a fork in that moment would freeze or crash the child."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from sdk.tests.history import History
from sdk.tests.nats_process import NatsProcess

ROOT = Path(__file__).parents[2]

WATCHED = """
    import sys, threading
    loaded = []

    def watch(frame, event, argument):
        '''Sees every module that a thread loads and every struct that msgspec looks into there.'''
        code = frame.f_code
        if event == "call" and code.co_name == "_find_and_load" and "importlib" in code.co_filename:
            if (name := frame.f_locals["name"]) not in sys.modules:
                loaded.append((threading.current_thread().name, "imports " + name))
        if event == "call" and code.co_name == "get_class_annotations":
            loaded.append((threading.current_thread().name, f"builds {frame.f_locals['obj']!r}"))

    threading.setprofile(watch)
"""

LIFE = """
    import os, pathlib, signal, sys, tempfile, time
    from brownout import Brownout
    directory = pathlib.Path(tempfile.mkdtemp())
    threading.setprofile(watch)
    client = Brownout.connect(os.environ["URL"], key=os.environ["KEY"], environment=os.environ["ENV"], disk=directory)
    threading.setprofile(None)

    # The other half of the conversation, which the test may load late.
    import dataclasses, msgspec
    from datetime import timedelta
    from sdk.tests.history import History, put, flag
    from sdk.tests.log_publisher import LogPublisher
    from sdk.tests.nats_process import NatsProcess
    from sdk.tests.waiting import eventually, follows
    import brownout._sync.reporter as reporter, brownout.telemetry.reports as reports
    reporter._EVERY_S, reports.INTERVAL_S = 0.1, 0.0

    history = History(os.environ["ENV"])
    history.set_flag("first", on=False)
    server = NatsProcess(pathlib.Path(os.environ["DIRECTORY"]))
    server._port = int(os.environ["URL"].rpartition(":")[2])
    server.start()
    with LogPublisher(server.url, history) as publisher:
        follows(client, 1)                                       # from a snapshot
        publisher.set_flag("first", on=True)                     # by commits
        publisher.say(publisher.history.sign("log", b"nonsense"))
        bad = history.heartbeat()
        publisher.say(type(bad)(bad.payload, bad.signature[:-4] + "AA=="))
        eventually(client, lambda: client.status.counters.bad_signatures > 0)
        follows(client, 2)
        profile = {"max_output_tokens": 10}
        encode = lambda spec: msgspec.json.encode(spec, order="sorted")
        publisher.commit(put("calm", encode(profile), "safe_mode_profile"))
        now = history.now()
        activation = {
            "profile": "calm", "scope": {}, "reason": "drill", "actor": "ada", "activated_at": now.isoformat(),
            "expires_at": (now + timedelta(seconds=1)).isoformat(), "on_expiry": "lift",
        }
        publisher.commit(put("calm-now", encode(activation), "safe_mode_activation"))
        follows(client, 4)
        eventually(client, lambda: not client.held.safe_mode)    # it has expired
        for _ in range(3):
            client.boolean("first", {"targeting_key": "u"})
            client.policy("nowhere")
            client.track("answers", 1.0, {"good": True})
        publisher.publish_keys(history.rotate())
        publisher.set_flag("first", on=False)                    # signed by a key still to be learned
        follows(client, 5)
        heard = len(publisher.presence)
        eventually(client, lambda: len(publisher.presence) > heard + 3)
        publisher.snapshot()
    server.stop(kill=True)
    eventually(client, lambda: client.status.sync in {"DISCONNECTED", "CONNECTING"})
    server.start()
    with LogPublisher(server.url, history, creates=False) as publisher:
        follows(client, 5)
        client.on_change(lambda change: 1 / 0)                   # its fault is logged
        publisher.set_flag("first", on=True)
        follows(client, 6)
        client.close(5)
    server.stop()
    assert list(directory.glob("*.bundle")), "there is a disk copy"
    print(*sorted({what for who, what in loaded if who.startswith("brownout-")}), sep="\\n")
"""


def test_a_whole_life_loads_and_builds_nothing_on_a_thread_of_the_client(tmp_path: Path) -> None:
    history = History("production")
    url = NatsProcess(tmp_path).url.replace("127.0.0.1", "localhost")
    script = textwrap.dedent(WATCHED) + textwrap.dedent(LIFE)
    settings = {"URL": url, "KEY": history.sdk_key, "ENV": "production", "DIRECTORY": str(tmp_path / "nats")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | settings | {"PYTHONPATH": str(ROOT)}, cwd=ROOT,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["", ""], done.stdout


def test_the_guard_sees_what_it_looks_for() -> None:
    script = (
        textwrap.dedent(WATCHED)
        + "import msgspec\n"
        + "class Made(msgspec.Struct):\n    x: int\n"
        + "def late():\n    import wave\n    msgspec.json.Decoder(Made)\n"
        + "thread = threading.Thread(target=late, name='brownout-late'); thread.start(); thread.join()\n"
        + "print(*{what.split()[0] for who, what in loaded if who == 'brownout-late'})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"imports", "builds"}


def test_two_clients_that_start_at_once_do_not_disturb_each_other() -> None:
    script = """
        import threading
        from brownout import Brownout
        from sdk.tests.history import History
        key = History("production").sdk_key
        start = threading.Barrier(8)

        def connect():
            start.wait()
            clients.append(Brownout.connect("nats://127.0.0.1:9", key=key, environment="production", disk=False))

        clients = []
        threads = [threading.Thread(target=connect) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()
        print(len(clients))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "8"), done.stderr
