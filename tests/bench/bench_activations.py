"""What activations cost an SDK that follows an environment: many commits while 0, 100, 500 and 2,000 of them are on.

The SDK is the public client in a process of its own, following a real NATS; this process signs and publishes as a control
plane does. Every eighth commit switches safe mode, as an older control plane would let it. A lag is measured from
handing the commit to NATS to the callback for its revision, on the clock that both processes share.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from brownout.wire import Operation
from sdk.tests.history import History, delete, flag, put
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess
from tests.bench.report import Ratio, Report, ms, percentile

COMMITS = 1_000
ACTIVATIONS = (0, 100, 500, 2_000)
LIMIT_S = 0.050
EVERY = 8
"""One commit in so many switches safe mode."""

_FOLLOWER = """
import sys, time
from brownout import Brownout
last = int(sys.argv[1])
applied, first = [], 0
with Brownout.connect() as client:
    assert client.wait_configured(30)
    done = []
    client.on_change(lambda change: (applied.append((change.revision, time.monotonic())), done.append(1) if change.revision >= last else None))
    client.policy("reply", {"targeting_key": "u-1"}); client.boolean("plain")
    print("ready", flush=True)
    used, deadline = time.process_time(), time.monotonic() + 120
    while not done and time.monotonic() < deadline:
        client.policy("reply", {"targeting_key": "u-1"}); client.boolean("plain")
        time.sleep(0.005)
    time.sleep(0.2)
    print(time.process_time() - used)
    for revision, at in applied: print(revision, at)
    print(client.status.revision, client.status.counters.restarts)
"""


class Followed(NamedTuple):
    """Of one run: how far behind the SDK was at each commit, what it used, and where it ended."""

    lags: list[float]
    processor_s: float
    revision: int
    restarts: int


def run() -> Report:
    with tempfile.TemporaryDirectory() as folder:
        server = NatsProcess(Path(folder) / "nats").start()
        try:
            runs = {amount: _follow(server.url, amount) for amount in ACTIVATIONS}
        finally:
            server.stop()
    none = runs[0]
    figures = {}
    for amount, found in runs.items():
        figures[f"{amount:,} activations: commit handed to NATS → applied, p50"] = ms(median(found.lags))
        figures[f"{amount:,} activations: … p99"] = ms(percentile(found.lags, 0.99))
        figures[f"{amount:,} activations: processor a commit"] = ms(found.processor_s / COMMITS)
    return Report(
        f"Following {COMMITS:,} commits, one in {EVERY} of which switches safe mode",
        figures,
        (
            Ratio("100 activations: p50 beside 50 ms", median(runs[100].lags) / LIMIT_S, 1.0),
            *(
                Ratio(f"{amount:,} activations: p50 beside none", median(found.lags) / median(none.lags), bound)
                for (amount, found), bound in zip(list(runs.items())[1:], (2.0, 2.0, 3.0), strict=True)
            ),
            Ratio("sync threads replaced", float(sum(found.restarts for found in runs.values())), 0.0),
        ),
    )


def _follow(url: str, amount: int) -> Followed:
    history = environment(amount)
    with LogPublisher(url, history, heartbeat_s=1.0) as publisher:
        settings = {"BROWNOUT_NATS_URL": url, "BROWNOUT_SDK_KEY": history.sdk_key,
                    "BROWNOUT_ENVIRONMENT": history.environment, "BROWNOUT_DISK": "off"}  # fmt: skip
        last = history.revision + COMMITS
        command = [sys.executable, "-c", _FOLLOWER, str(last)]
        with subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            assert follower.stdout.readline() == "ready\n"
            handed: dict[int, float] = {}
            for operation in commits(amount):
                handed[history.revision + 1] = time.monotonic()
                publisher.commit(operation)
            processor_s, *applied, end = follower.stdout.read().splitlines()
        assert follower.returncode == 0
    revision, restarts = map(int, end.split())
    assert revision == last, f"it stopped at {revision} of {last}"
    return Followed(list(_lags(handed, applied)), float(processor_s), revision, restarts)


def _lags(handed: dict[int, float], applied: list[str]) -> Iterator[float]:
    """A change may stand for several revisions: they were all applied with the last."""
    waiting = sorted(handed)
    for line in applied:
        revision, at = line.split()
        while waiting and waiting[0] <= int(revision):
            yield max(0.0, float(at) - handed[waiting.pop(0)])


def environment(activations: int, name: str = "") -> History:
    history = History(name or f"bench-{activations}")
    route = {"provider": "openai", "model": "m"}
    model = {
        "type": "model_route",
        "variants": {"v": {"targets": {"t": route}, "primary": "t"}},
        "off_variant": "v",
        "default": "v",
    }
    history.resources |= {
        ("flag", "plain"): flag(on=True),
        ("flag", "route"): msgspec.json.encode(model),
        ("request_class", "reply"): b'{"criticality":"critical","model":"route"}',
        ("cohort", "beta"): b'{"include":["u-1"]}',
        ("safe_mode_profile", "calm"): b'{"exclude_tools":["*"],"max_attempts":1,"serve_safe_variant":["*"]}',
    }
    for number in range(activations):
        history.resources["safe_mode_activation", f"old-{number:05}"] = activation(number)
    history.set_flag("first", on=True)
    return history


def activation(number: int) -> bytes:
    scope = ({}, {"request_classes": ["reply"]}, {"services": [f"s-{number % 9}"]}, {"cohorts": ["beta"]})[number % 4]
    spec = {"profile": "calm", "reason": "flood", "actor": "watcher", "activated_at": "2026-01-01T00:00:00Z",
            "expires_at": f"{2100 + number % 50}-01-01T00:00:00Z", "scope": scope}  # fmt: skip
    return msgspec.json.encode(spec)


def commits(activations: int) -> Iterator[Operation]:
    """With activations some are put again, with another end; without, a flag is changed in their stead."""
    for number in range(COMMITS):
        if number % EVERY or not activations:
            yield put(f"flag-{number % 50}", flag(on=number % 2 == 0))
        elif number % (2 * EVERY):
            yield delete("new", "safe_mode_activation")
        else:
            yield put("new", activation(number), "safe_mode_activation")
