"""Processor time of a client command, as multiples of what starting Python and ending it costs.

Typer brings pydantic, and httpx its own command line where click is installed: those two are most of what remains.
"""

import os
import sys
from pathlib import Path

from tests.bench.report import Ratio, Report, ms

ROUNDS = 9
BROWNOUT = (sys.executable, str(Path(sys.executable).parent / "brownout"))
DEAD = ("--url", "http://127.0.0.1:9")


def run() -> Report:
    empty = _cost(sys.executable, "-c", "pass")
    version = _cost(*BROWNOUT, "--version")
    told = {
        "brownout rollout --help": _cost(*BROWNOUT, "rollout", "--help"),
        "brownout flag list": _cost(*BROWNOUT, "flag", "list", *DEAD),
        "brownout safe-mode status": _cost(*BROWNOUT, "safe-mode", "status", *DEAD),
        "brownout rollout show": _cost(*BROWNOUT, "rollout", "show", "r", *DEAD),
    }
    return Report(
        "The command line: processor time, beside `python -c pass`",
        {"python -c pass": ms(empty), "brownout --version": ms(version), **{k: ms(v) for k, v in told.items()}},
        (
            Ratio("brownout --version", version / empty, 8),
            *(Ratio(what, cost / empty) for what, cost in told.items()),
        ),
    )


def _cost(*command: str) -> float:
    """The least of several runs: what the machine does beside only adds."""
    return min(_once(command) for _ in range(ROUNDS))


def _once(command: tuple[str, ...]) -> float:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        silent = [(os.POSIX_SPAWN_DUP2, nowhere, 1), (os.POSIX_SPAWN_DUP2, nowhere, 2)]
        child = os.posix_spawn(command[0], command, os.environ, file_actions=silent)
        used = os.wait4(child, 0)[2]
    finally:
        os.close(nowhere)
    return used.ru_utime + used.ru_stime
