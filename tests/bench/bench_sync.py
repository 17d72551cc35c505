"""What following an environment of 10,000 flags costs a service: starting, memory, stalls, changes, idling."""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec

from brownout import Brownout
from brownout._sync.clock import SignedTime
from brownout._sync.replica import Replica
from brownout._sync.serving import Serving
from brownout.evaluation.compile import Compiled
from brownout.status import Counters
from sdk.tests.history import History, put
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess
from tests.bench.report import Ratio, Report, ms

FLAGS = 10_000
ROUNDS = 5
STALL_ROUNDS = 20
"""The least of many: whatever else the machine does can only lengthen a gap."""

CHANGES = 300
IDLE_S = 20

_MEMORY = """
import gc, psutil
from brownout import Brownout
from brownout import wire
from brownout._sync import boot
wire.Verifier("bench", {"none": bytes(32)})  # loads what verifying needs
gc.collect(); before = psutil.Process().memory_info().rss
client = Brownout.connect(); assert client.wait_configured(30)
gc.collect(); print(psutil.Process().memory_info().rss - before)
"""
_IDLE = f"""
import time
from brownout import Brownout
client = Brownout.connect(); assert client.wait_configured(30)
time.sleep(2); started, used = time.monotonic(), time.process_time()
time.sleep({IDLE_S}); print((time.process_time() - used) / (time.monotonic() - started))
"""


def run() -> Report:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        server = NatsProcess(directory / "nats").start()
        history = environment(FLAGS)
        document = directory / "environment.json"
        document.write_bytes(b"[" + b",".join(history.resources.values()) + b"]")
        try:
            with LogPublisher(server.url, history, heartbeat_s=5.0):
                return _measure(server.url, history, document, directory)
        finally:
            server.stop()


def environment(flags: int) -> History:
    history = History("bench")
    chance = random.Random(7)
    for number in range(flags):
        history.resources["flag", f"team-{number % 37}.feature-{number}"] = _flag(number, chance)
    history.set_flag("plain", on=True)
    return history


def _flag(number: int, chance: random.Random) -> bytes:
    words = ["de", "us", "fr", "enterprise", "pro", "free", "@corp.example", "4.2.1"]
    rule = {
        "id": f"{chance.getrandbits(64):016x}",
        "if": [
            {"attribute": chance.choice(["country", "plan", "email"]), "op": "in", "values": chance.sample(words, 3)},
            {"attribute": "plan", "op": "in", "values": ["pro"], "negate": True},
        ],
        "serve": "on",
    }
    share = chance.randrange(10_001)
    split = [{"variant": "on", "weight_bp": share}, {"variant": "off", "weight_bp": 10_000 - share}]
    spec = {
        "type": "boolean", "description": f"feature {number}", "owner": f"team-{number % 37}", "enabled": True,
        "variants": {"on": True, "off": False}, "off_variant": "off", "rules": [rule],
        "default": {"split": split, "seed": f"{chance.getrandbits(128):032x}"},
    }  # fmt: skip
    return msgspec.json.encode(spec, order="sorted")


def _measure(url: str, history: History, document: Path, directory: Path) -> Report:
    size = document.stat().st_size
    cache = directory / "cache"
    options = {"key": history.sdk_key, "environment": "bench", "disk": cache}
    _start(url, options)  # imports, and writes the disk copy
    decoding = median(_decode(document) for _ in range(ROUNDS))
    from_nats = median(_start(url, options | {"disk": False}) for _ in range(ROUNDS))
    from_disk = median(_start("nats://127.0.0.1:1", options) for _ in range(ROUNDS))
    stall = min(_stall(url, options | {"disk": False}) for _ in range(STALL_ROUNDS))
    memory = float(_in_a_process(_MEMORY, url, history))
    idle = float(_in_a_process(_IDLE, url, history))
    few, many = _change(100), _change(FLAGS)
    return Report(
        f"Following {FLAGS:,} flags ({size / 1e6:.1f} MB of JSON)",
        {
            "reading and json-decoding the same bytes": ms(decoding),
            "ready from NATS": ms(from_nats),
            "ready from the disk copy": ms(from_disk),
            "worst gap between two decisions while loading": ms(stall),
            "memory beyond the libraries' own": f"{memory / 1e6:.1f} MB",
            "idle": f"{idle:.3%} of a core",
            "verifying and applying one change, 100 flags": ms(few),
            f"verifying and applying one change, {FLAGS:,} flags": ms(many),
        },
        (
            Ratio("ready from NATS beside decoding", from_nats / decoding, 2.0),
            Ratio("ready from disk beside decoding", from_disk / decoding, 2.0),
            Ratio("worst stall beside 10 ms", stall / 0.010, 1.0),
            Ratio("memory beside the JSON", memory / size, 3.0),
            Ratio("idle beside 0.1 % of a core", idle / 0.001, 1.0),
            Ratio(f"a change: {FLAGS:,} flags beside 100", many / few, 1.5),
        ),
    )


def _decode(document: Path) -> float:
    started = perf_counter()
    json.loads(document.read_bytes())
    return perf_counter() - started


def _start(url: str, options: dict[str, object]) -> float:
    started = perf_counter()
    with Brownout.connect(url, **options) as client:  # type: ignore[arg-type]
        if url.endswith(":1"):
            assert client.status.revision >= 0
        else:
            assert client.wait_configured(30)
        return perf_counter() - started


def _stall(url: str, options: dict[str, object]) -> float:
    """The longest that an evaluating thread waited between two decisions while another client loads everything."""
    done = threading.Event()
    with Brownout.connect(url, **options) as client:  # type: ignore[arg-type]
        assert client.wait_configured(30)
        gaps: list[float] = [0.0]

        def decide() -> None:
            last = perf_counter()
            while not done.is_set():
                client.boolean("plain")
                now = perf_counter()
                gaps[0] = max(gaps[0], now - last)
                last = now

        thread = threading.Thread(target=decide)
        thread.start()
        _start(url, options)
        done.set()
        thread.join()
        return gaps[0]


def _change(flags: int) -> float:
    """Median cost of one signed envelope, from its bytes to the next decision's data."""
    history = environment(flags)
    serving = Serving("bench", Compiled.load("bench", -1, {}), lambda _: None, lambda _: None, SignedTime().now)
    replica = Replica("bench", history.verifier(), serving, Counters())
    replica.restore(*history.snapshot())
    costs = []
    for number in range(CHANGES):
        message = history.commit(put("team-1.feature-1", _flag(number, random.Random(number))))
        started = perf_counter()
        replica.offer(message)
        costs.append(perf_counter() - started)
    return median(costs)


def _in_a_process(script: str, url: str, history: History) -> str:
    settings = {
        "BROWNOUT_NATS_URL": url,
        "BROWNOUT_SDK_KEY": history.sdk_key,
        "BROWNOUT_ENVIRONMENT": "bench",
        "BROWNOUT_DISK": "off",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | settings, capture_output=True, text=True, check=True
    )
    return done.stdout
