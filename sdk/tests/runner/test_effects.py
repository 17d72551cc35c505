"""An effect runs once, whatever is killed."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from brownout.runner.effects import Effect, MemoryEffects, SqliteEffects, effect_key


@pytest.fixture(params=["memory", "sqlite"])
def effects(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryEffects() if request.param == "memory" else SqliteEffects(tmp_path / "effects.db")


def test_an_effect_starts_once_and_its_result_is_kept(effects: Any) -> None:
    assert effects.start("a", "refund") is None
    assert effects.start("a", "refund") == Effect("a", "refund")
    effects.finish("a", {"id": 7, "lines": [None]})
    assert effects.start("a", "refund") == Effect("a", "refund", True, {"id": 7, "lines": [None]})
    assert effects.start("b", "refund") is None


def test_no_result_is_a_result(effects: Any) -> None:
    effects.start("a", "mail")
    effects.finish("a", None)
    assert effects.start("a", "mail") == Effect("a", "mail", True, None)


def test_of_many_threads_one_starts_it(effects: Any) -> None:
    started: list[object] = []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        started.append(effects.start("a", "refund"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert started.count(None) == 1


def test_a_file_of_effects_is_its_owners_and_forgets_when_told(tmp_path: Path) -> None:
    effects = SqliteEffects(tmp_path / "effects.db")
    effects.start("a", "refund")
    assert stat.S_IMODE((tmp_path / "effects.db").stat().st_mode) == 0o600
    assert effects.forget(0.0) == 0
    assert effects.forget(1e12) == 1
    assert effects.start("a", "refund") is None
    effects.close()


@pytest.mark.parametrize(
    "other", [("r2", "refund", {"id": 1}, 0), ("r1", "mail", {"id": 1}, 0), ("r1", "refund", {"id": "1"}, 0),
              ("r1", "refund", {"id": 1}, 1)],
)  # fmt: skip
def test_a_key_is_the_wish_and_not_the_models_name_for_it(other: tuple[str, str, dict[str, Any], int]) -> None:
    assert effect_key("r1", "refund", {"a": 1, "b": [2]}, 0) == effect_key("r1", "refund", {"b": [2], "a": 1}, 0)
    assert effect_key("r1", "refund", {"id": 1}, 0) != effect_key(*other)


FORKS = """
import os, random, signal, sys
from brownout.runner.effects import SqliteEffects
path, times, chance = sys.argv[1], int(sys.argv[2]), random.Random(14)
done = os.open(sys.argv[1] + ".done", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
effects = SqliteEffects(path)

def request(key, dies_at):
    def step(name):
        if name == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
    found = effects.start(key, "refund")
    step("started")
    if found is None:
        os.write(done, f"{key}\\n".encode())
        step("ran")
        effects.finish(key, key)
    elif found.done and found.result != key:
        os._exit(3)
    os._exit(0)

for number in range(times):
    key = f"effect-{number // 2}"  # each request is repeated once
    dies_at = chance.choice(["started", "ran", "ran", "never"])
    child = os.fork()
    if child == 0:
        request(key, dies_at)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
"""


@pytest.mark.chaos
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_kill_9_between_an_effect_and_its_record_repeats_nothing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two processes a request; half of the first ones die after the effect, before its record."""
    times = 20_000 if request.config.getoption("--chaos", default="short") == "long" else 400
    path = tmp_path / "effects.db"
    subprocess.run([sys.executable, "-c", FORKS, str(path), str(times)], check=True)
    ran = (tmp_path / "effects.db.done").read_text().splitlines()
    assert len(ran) > times / 4
    assert len(set(ran)) == len(ran)


WORKER = """
import sys
from brownout.runner.effects import SqliteEffects
effects, done = SqliteEffects(sys.argv[1]), open(sys.argv[2], "ab", buffering=0)
for number in range(200):
    key = f"effect-{number}"
    if effects.start(key, "refund") is None:
        done.write(f"{key}\\n".encode())
        effects.finish(key, number)
"""


def test_of_two_processes_at_the_same_effects_each_runs_once(tmp_path: Path) -> None:
    path, done = str(tmp_path / "effects.db"), tmp_path / "done"
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, path, str(done)]) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert sorted(done.read_text().split()) == sorted(f"effect-{number}" for number in range(200))
