import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether `make chaos` runs, which takes its time."""
    return bool(request.config.getoption("--chaos") == "long")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Open to the user that Postgres runs as, unlike pytest's own folders."""
    made = Path(tempfile.mkdtemp(prefix="brownout-chaos-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


class Bound(NamedTuple):
    """One row of the failure table, as it was measured."""

    what: str
    seconds: float
    bound_s: float


_MEASURED = pytest.StashKey[list[Bound]]()


class Measured(Protocol):
    def __call__(self, what: str, seconds: float, bound_s: float) -> None: ...


SLACK = 3
"""The short form runs beside other tests on whatever machine there is: there it is held to this many times the bound."""


@pytest.fixture
def measured(request: pytest.FixtureRequest, long: bool) -> Measured:
    """Asserts that a bound held, and keeps the figure for the table at the end."""

    def keep(what: str, seconds: float, bound_s: float) -> None:
        request.config.stash.setdefault(_MEASURED, []).append(Bound(what, seconds, bound_s))
        limit_s = bound_s if long else bound_s * SLACK
        assert seconds < limit_s, f"{what}: {seconds:.2f} s, must be below {limit_s:g} s"

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash.get(_MEASURED, [])
    if rows:
        terminalreporter.section("recoveries")
    for what in dict.fromkeys(row.what for row in rows):
        times = [row.seconds for row in rows if row.what == what]
        bound_s = next(row.bound_s for row in rows if row.what == what)
        terminalreporter.write_line(f"{what:<66} worst of {len(times):>2}: {max(times):6.2f} s  (< {bound_s:g} s)")
