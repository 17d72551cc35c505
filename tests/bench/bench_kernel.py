"""Brownout's kernel beside its peers and beside a hand-written closure, each in a process of its own, all in one run.

The peers live in `.venv-bench` (made by `make bench`); every peer's answers are checked before it is timed. All are
measured in turns and the least of each figure counts: a machine's slow minute then costs all of them alike. Import is
processor time with the bytecode at hand, as an installed package has it.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.report import Ratio, Report

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
PEERS = (
    "closure",
    "brownout_sdk",
    "statsig",
    "growthbook_sdk",
    "flagd",
    "configcat",
    "flagsmith_sdk",
    "launchdarkly",
    "posthog_sdk",
    "unleash",
)
WORKLOADS = ("plain", "targeted", "split", "cohort", "many")
TIMES = {"plain": 4.0, "targeted": 6.0, "split": 6.0, "cohort": 6.0, "many": 6.0}
"""How many times faster than the fastest peer Brownout must be."""
TURNS = 3

_IMPORT = "import time; t = time.process_time(); import {}; print((time.process_time() - t) * 1000)"
_SIZE = """
from importlib.metadata import PackageNotFoundError, distribution
from packaging.requirements import Requirement
todo, done, size = ['{}'], set(), 0
while todo:
    name = todo.pop()
    if name.lower() in done: continue
    done.add(name.lower())
    try: found = distribution(name)
    except PackageNotFoundError: continue
    size += sum(file.size or 0 for file in found.files or ())
    for line in found.requires or ():
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({{'extra': ''}}): todo.append(wanted.name)
print(size / 1e6)
"""


def run() -> Report:
    if not PYTHON.exists():
        raise SystemExit("the peers are not installed: run `make bench` once")
    turns = [{peer: _measured(peer) for peer in PEERS} for _ in range(TURNS)]
    found = {peer: _least([turn[peer] for turn in turns]) for peer in PEERS}
    with tempfile.TemporaryDirectory() as cache:
        for figure in found.values():
            if "module" in figure:
                figure["import_ms"] = _import_ms(figure["module"], cache)
    figures = {"ns a call: " + ", ".join(WORKLOADS) + "; then": "MB, load ms, import ms, installed MB"}
    for peer, figure in found.items():
        figures[figure.get("title", peer)] = _row(figure)
    extras = _json("tests.bench.peers.extras")
    for flags, (applied, decided) in extras["apply_us"].items():
        figures[f"one changed flag applied; and decided again: {flags} flags"] = f"{applied:.1f}; {decided:.0f} µs"
    return Report("Deciding: the SDK's kernel beside its peers", figures, tuple(_ratios(found, extras)))


def _ratios(found: dict[str, dict[str, Any]], extras: dict[str, Any]) -> list[Ratio]:
    ours, hand, book = found["brownout_sdk"], found["closure"], found["growthbook_sdk"]
    peers = [figure for peer, figure in found.items() if peer not in {"closure", "brownout_sdk"} and "plain" in figure]
    ratios = []
    for name in WORKLOADS:
        best = min(peer[name] for peer in peers)
        ratios.append(
            Ratio(
                f"{name}: beside the fastest peer ({best / ours[name]:.1f} times as fast)",
                ours[name] / best,
                1 / TIMES[name],
            )
        )
    ratios += [Ratio(f"{name}: beside a hand-written closure", ours[name] / hand[name], 2.5) for name in WORKLOADS]
    ratios += [Ratio(f"{name}: decide() beside the bare value", ratio, 1.5) for name, ratio in extras["decide"].items()]
    return [
        *ratios,
        Ratio("policy() beside one decide()", extras["policy"], 10),
        Ratio("policy() beside one decide(), safe mode on", extras["policy_safe_mode"], 10),
        Ratio("5,000 flags: memory beside 20 MB", ours["memory_mb"] / 20, 1),
        Ratio("5,000 flags: memory beside growthbook", ours["memory_mb"] / book["memory_mb"]),
        Ratio("5,000 flags: loading beside 60 ms", ours["load_ms"] / 60, 1),
        Ratio("5,000 flags: loading beside growthbook", ours["load_ms"] / book["load_ms"], 2),
        Ratio("5,000 flags: applying a changed one beside 100 µs", extras["apply_us"]["5000"][0] / 100, 1),
        Ratio("applying into 5,000 flags beside 50", extras["apply_us"]["5000"][0] / extras["apply_us"]["50"][0], 1.5),
        Ratio("import beside 60 ms", ours["import_ms"] / 60, 1),
        Ratio("one thread's rate beside four threads' together", 1 / extras["threads"], 1 / 0.95),
    ]


def _measured(peer: str) -> dict[str, Any]:
    found = _json("tests.bench.peers.measure", peer)
    if "wrong" in found:
        return {"title": f"{peer}: answers wrongly, not timed ({found['wrong'][0]})"}
    found["installed_mb"] = float(_python("-c", _SIZE.format(found["distribution"])))
    return found


def _least(turns: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        key: min(turn[key] for turn in turns if key in turn) if isinstance(value, int | float) else value
        for key, value in turns[-1].items()
    }


def _import_ms(module: str, cache: str) -> float:
    """`cache` is where bytecode is kept; the first import, which fills it, is among the six."""
    kept = {"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    return min(float(_python("-c", _IMPORT.format(module), **kept)) for _ in range(6))


def _row(figure: dict[str, Any]) -> str:
    if "plain" not in figure:
        return "-"
    times = "  ".join(f"{figure[name]:>7,.0f}" for name in WORKLOADS)
    return f"{times}   {figure['memory_mb']:>5.1f}  {figure['load_ms']:>6.1f}  {figure['import_ms']:>6.0f}  {figure['installed_mb']:>6.1f}"


def _json(module: str, *arguments: str) -> dict[str, Any]:
    answered = _python("-m", module, *arguments).strip().splitlines()[-1]
    found: dict[str, Any] = json.loads(answered)
    return found


def _python(*arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [str(PYTHON), "-W", "ignore", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:80]}: {done.stderr[-800:]}")
    return done.stdout
