"""Our runner beside LiteLLM's Router, Pydantic AI, LangChain and the bare client, on providers that fail on command.

Each peer is a process of its own from `.venv-bench`, with two providers of its own on loopback. It asks while all is
well before anything fails, so no peer pays for loading.
"""

import asyncio
import json
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median
from threading import Thread
from time import process_time
from typing import Any, NamedTuple

from brownout.runner import AsyncRunner, Call, Output
from sdk.tests.providers.server import Answer
from sdk.tests.providers.speech import Said
from sdk.tests.runner.served import TO_SPARE, Client, made
from tests.bench.failover.providers import DOWN, EXHAUSTED, FILTER, HEALTHY, LIMITED, REFUSING, FailingProvider
from tests.bench.report import Ratio, Report

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
PEERS = ("brownout", "litellm", "litellm_tuned", "pydantic_ai", "langchain", "openai_alone")
REQUESTS, AT_ONCE = 20, 5
PATIENCE_S = 75.0
"""A peer that is not done by then is not waited for."""
CPU_REQUESTS, CPU_TURNS = 200, 5
CPU_BOUND_US = 60.0
ALONE_REQUESTS, ALONE_ROUNDS = 2_000, 7
ANSWER = Output("All is well.", usage=(11, 7))


class Scene(NamedTuple):
    title: str
    primary: Answer | Said
    spare: Answer | Said


SCENES = {
    "both_down": Scene("both down", DOWN, DOWN),
    "primary_down": Scene("primary 503, spare healthy", DOWN, HEALTHY),
    "limited": Scene("Retry-After 30 s, spare healthy", LIMITED, HEALTHY),
    "quota": Scene("quota exhausted, spare healthy", EXHAUSTED, HEALTHY),
    "filter": Scene("400 content_filter", FILTER, HEALTHY),
    "refusal": Scene("200 with a refusal", REFUSING, HEALTHY),
}


class Outcome(NamedTuple):
    """Seconds by request, in the order of their ends; None: not done in PATIENCE_S. Calls are to each provider."""

    took: list[float] | None
    said: list[Any]
    primary: int
    spare: int

    @property
    def row(self) -> str:
        calls = f"{self.primary / REQUESTS:.2f} + {self.spare / REQUESTS:.2f} calls"
        time = f"> {PATIENCE_S:.0f} s" if self.took is None else f"{median(self.took):.3f} s"
        shown = json.dumps(self.said[-1]) if self.said else "nothing yet"
        return f"{calls}, {time}, {shown if len(shown) <= 60 else shown[:57] + '...'}"


def run() -> Report:
    if not PYTHON.exists():
        raise SystemExit("the peers are not installed: run `make bench` once")
    figures = {"calls a request to primary + spare, median time, what the service gets": ""}
    ours: dict[str, Outcome] = {}
    for name, scene in SCENES.items():
        found = _play(scene, together=name == "limited")  # where peers sleep for a minute they may do so together
        figures |= {f"{scene.title}: {peer}": outcome.row for peer, outcome in found.items()}
        ours[name] = found["brownout"]
    bare, more = _processor_us()
    alone = asyncio.run(_alone_us())
    figures["processor time a healthy call, the bare client, streamed"] = f"{bare:.0f} µs"
    figures["our runner around a callable that answers at once"] = f"{alone:.0f} µs"
    figures |= {f"above the bare client: {peer}": f"{us:+.0f} µs" for peer, us in more.items()}
    return Report("A provider fails: our runner beside its peers", figures, tuple(_ratios(ours, alone)))


def _ratios(ours: dict[str, Outcome], cpu_us: float) -> Iterator[Ratio]:
    both, down, limited = ours["both_down"], ours["primary_down"], ours["limited"]
    yield Ratio("both down: calls a request", (both.primary + both.spare) / REQUESTS, 1.1)
    yield Ratio("primary down: slowest request / 0.6 s", max(down.took or [PATIENCE_S]) / 0.6, 1)
    yield Ratio("primary down: calls to it a request", down.primary / REQUESTS, 0.5)
    yield Ratio("Retry-After 30 s: median / 0.2 s", median(limited.took or [PATIENCE_S]) / 0.2, 1)
    yield Ratio("quota exhausted: calls to the primary / requests in flight", ours["quota"].primary / AT_ONCE, 1)
    yield Ratio("content filter: calls to the spare", ours["filter"].spare, 0)
    yield Ratio("refusal: calls to the spare", ours["refusal"].spare, 0)
    yield Ratio(f"processor time around a callable / {CPU_BOUND_US:.0f} µs", cpu_us / CPU_BOUND_US, 1)


def _play(scene: Scene, *, together: bool) -> dict[str, Outcome]:
    def one(worker: _Worker) -> Outcome:
        worker.primary.does, worker.spare.does = scene.primary, scene.spare
        for provider in (worker.primary, worker.spare):
            provider.asked.clear()
        found = worker.ask(REQUESTS, AT_ONCE)
        calls = len(worker.primary.asked), len(worker.spare.asked)
        return Outcome(found and found["took"], found["said"] if found else [], *calls)

    with _workers(PEERS) as workers, ThreadPoolExecutor(len(PEERS) if together else 1) as threads:
        return dict(zip(PEERS, threads.map(one, workers.values()), strict=True))


def _processor_us() -> tuple[float, dict[str, float]]:
    """What a healthy call costs the bare client, and what each peer adds; in turns, medians."""
    names = ("openai_streamed", "openai_alone", *PEERS[:-1])
    samples: dict[str, list[float]] = {name: [] for name in names}
    with _workers(names) as workers:
        for _ in range(CPU_TURNS):
            for name, worker in workers.items():
                if (found := worker.ask(CPU_REQUESTS, 1)) is not None:
                    samples[name].append(found["cpu"] * 1e6)
    least = {name: median(found) for name, found in samples.items()}
    bare = {name: least["openai_streamed" if name == "brownout" else "openai_alone"] for name in PEERS[:-1]}
    return least["openai_streamed"], {name: least[name] - bare[name] for name in PEERS[:-1]}


async def _alone_us() -> float:
    """What the runner adds to a call, without the noise of two clients: the least of several rounds."""

    async def ask(_: Call, **__: Any) -> Output:
        return ANSWER

    runner = AsyncRunner(Client(made(TO_SPARE)), {"a": ask, "b": ask})
    rounds = []
    for _ in range(ALONE_ROUNDS):
        started = process_time()
        for _ in range(ALONE_REQUESTS):
            await runner.run("reply", {"targeting_key": "u-1"}, messages=[])
        rounds.append((process_time() - started) / ALONE_REQUESTS * 1e6)
    return min(rounds)


class _Worker:
    def __init__(self, process: "subprocess.Popen[str]", primary: FailingProvider, spare: FailingProvider) -> None:
        self.primary, self.spare = primary, spare
        self._process = process
        self._lines: SimpleQueue[str] = SimpleQueue()
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line)
        self._lines.put("")

    def warm(self) -> None:
        line = self._lines.get(timeout=120)
        if line != "warm\n":
            raise SystemExit(f"a peer did not start: {line or (self._process.stderr and self._process.stderr.read())}")

    def ask(self, requests: int, at_once: int) -> dict[str, Any] | None:
        if self._process.stdin is not None:
            self._process.stdin.write(f"{requests} {at_once}\n")
            self._process.stdin.flush()
        try:
            found: dict[str, Any] = json.loads(self._lines.get(timeout=PATIENCE_S))
        except Empty:
            return None
        return found


@contextmanager
def _workers(peers: Sequence[str]) -> Iterator[dict[str, _Worker]]:
    """A process for each, all of them warm."""
    with ExitStack() as stack:
        workers = {peer: stack.enter_context(_worker(peer)) for peer in peers}
        for worker in workers.values():
            worker.warm()
        yield workers


@contextmanager
def _worker(peer: str) -> Iterator[_Worker]:
    with FailingProvider() as primary, FailingProvider() as spare:
        command = [str(PYTHON), "-W", "ignore", "-m", "tests.bench.failover.routes", peer, primary.url, spare.url]
        pipes: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        try:
            yield _Worker(process, primary, spare)
        finally:
            process.kill()
            process.communicate()
