"""Processes that are killed in the middle of what they do, and waiting for others."""

import random
import subprocess
import sys
import time
from collections.abc import Callable


def run_and_kill(script: str, *arguments: str, chance: random.Random, longest_s: float) -> None:
    """Runs `script` in a process of its own; kill -9 at a random moment after its first line of output."""
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, longest_s))
    finally:
        process.kill()
        process.communicate()


def wait_until(condition: Callable[[], object]) -> None:
    for _ in range(1_000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never happened")
