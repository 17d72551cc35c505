"""`python -m tests.bench.peers.measure <peer>`: checks one peer's answers, times it, prints one JSON object.

Times are the least of several rounds: the machine's other work only ever adds. Memory is what the process grew by
while 5,000 flags were loaded and each was asked once, its garbage collected and returned.
"""

import ctypes
import gc
import json
import logging
import sys
from contextlib import suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from tests.bench.peers.workloads import MANY, SMALL, WORKLOADS, Ask, Peer, faults, many

ROUNDS = 200
CALLS = 5_000
GROUP = 100
BUDGET_S = 1.5


def resident() -> int:
    """Bytes, after giving back what is free."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def per_call(asks: list[Ask]) -> float:
    """Nanoseconds. The asks are timed in groups, each shorter than a scheduler's slice, round after round over all of
    them; the least of each group counts. So other work on the machine is left out and cold caches are not.
    """
    started = perf_counter()
    for ask in asks[:20]:
        ask()
    each = (perf_counter() - started) / 20
    asks = asks[: max(GROUP, int(BUDGET_S / 3 / each) // GROUP * GROUP)]
    groups = [asks[start : start + GROUP] for start in range(0, len(asks), GROUP)]
    best = [float("inf")] * len(groups)
    ends = started + BUDGET_S
    for _ in range(ROUNDS):
        for index, group in enumerate(groups):
            started = perf_counter()
            for ask in group:
                ask()
            best[index] = min(best[index], perf_counter() - started)
        if started > ends:
            break
    return sum(best) / len(asks) * 1e9


def least_ms(action: Any, rounds: int = 7) -> float:
    best = float("inf")
    for _ in range(rounds):
        started = perf_counter()
        action()
        best = min(best, perf_counter() - started)
    return best * 1000


def measure(peer: Peer) -> dict[str, Any]:
    found: dict[str, Any] = {}
    peer.load(peer.document(SMALL))
    wrong = list(faults(peer))
    if wrong:
        return {"wrong": wrong}
    for name, (flag, context) in WORKLOADS.items():
        found[name] = per_call([peer.ask(flag, peer.subject(context))] * CALLS)
    flags = many()
    document = peer.document(flags)
    subject = peer.subject(WORKLOADS["targeted"][1])
    before = resident()
    peer.load(document)
    asks = [peer.ask(flag, subject) for flag in flags]
    growth = sys.getsizeof(asks) + MANY * 300  # the questions themselves
    for ask in chain(asks[: MANY if found["plain"] < 50_000 else 3]):
        ask()
    found["memory_mb"] = max(0.0, (resident() - before - growth) / 1e6)
    Random(7).shuffle(asks)
    found["many"] = per_call(asks)
    del asks
    found["load_ms"] = least_ms(lambda: peer.load(document), 5)
    return found


def main(name: str) -> None:
    logging.disable()
    peer: Peer = import_module(f"tests.bench.peers.{name}").Peer()
    found = measure(peer)
    extras = getattr(peer, "extras", None)
    if extras is not None and "wrong" not in found:
        found |= extras()
    sys.stdout.write(json.dumps(found | {"distribution": peer.distribution, "module": peer.module}) + "\n")
    sys.stdout.flush()
    import os

    os._exit(0)  # some peers' threads do not end


if __name__ == "__main__":
    main(sys.argv[1])
