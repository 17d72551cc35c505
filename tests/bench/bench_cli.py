"""Processor time of a client command, as multiples of what starting Python and ending it costs.

`its libraries` is the floor: click, msgspec and urllib, and nothing of ours (ADR 0150).
"""

import os
import sys
import tempfile
from pathlib import Path

from tests.bench.report import Ratio, Report, ms

ROUNDS = 9
PYTHON = sys.executable
BROWNOUT = (PYTHON, str(Path(PYTHON).parent / "brownout"))
DEAD = ("--url", "http://127.0.0.1:9")
LIBRARIES = "import click, msgspec, urllib.request"
CLIENT, OF_KINDS = 8.0, 9.0
"""The bounds. The nouns of kinds load the registry of kinds, and with it the structs of every spec."""

COMMANDS = {
    "brownout rollout --help": ("rollout", "--help"),
    "brownout flag list": ("flag", "list", *DEAD),
    "brownout safe-mode status": ("safe-mode", "status", *DEAD),
    "brownout rollout show": ("rollout", "show", "r", *DEAD),
    "brownout history": ("history", *DEAD),
    "brownout key list": ("key", "list", *DEAD),
}


def run() -> Report:
    with tempfile.TemporaryDirectory() as compiled:  # an installed wheel has its bytecode
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled
        commands = {
            "python -c pass": (PYTHON, "-c", "pass"),
            "its libraries": (PYTHON, "-c", LIBRARIES),
            "brownout --version": (*BROWNOUT, "--version"),
            **{name: (*BROWNOUT, *words) for name, words in COMMANDS.items()},
        }
        cost = _least(commands, environment)
    empty = cost["python -c pass"]
    bounds = {**dict.fromkeys(("brownout --version", *COMMANDS), CLIENT), "brownout flag list": OF_KINDS}
    return Report(
        "The command line: processor time, beside `python -c pass`",
        {name: ms(seconds) for name, seconds in cost.items()},
        tuple(Ratio(name, seconds / empty, bounds.get(name)) for name, seconds in cost.items() if seconds != empty),
    )


def _least(commands: dict[str, tuple[str, ...]], environment: dict[str, str]) -> dict[str, float]:
    """The least of several interleaved runs of each: what the machine does beside only adds."""
    rounds = [{name: _once(words, environment) for name, words in commands.items()} for _ in range(ROUNDS)]
    return {name: min(each[name] for each in rounds) for name in commands}


def _once(command: tuple[str, ...], environment: dict[str, str]) -> float:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        silent = [(os.POSIX_SPAWN_DUP2, nowhere, 1), (os.POSIX_SPAWN_DUP2, nowhere, 2)]
        child = os.posix_spawn(command[0], command, environment, file_actions=silent)
        used = os.wait4(child, 0)[2]
    finally:
        os.close(nowhere)
    return used.ru_utime + used.ru_stime
