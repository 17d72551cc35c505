"""One module of the SDK reads the host's wall clock; everything else asks it (docs/adr/0044-signed-time.md)."""

import ast
from pathlib import Path

import pytest

import brownout

SOURCES = Path(brownout.__file__).parent
OWNER = SOURCES / "clock.py"
READERS = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime", "asctime", "strftime", "clock_gettime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def wall_clock_readings(source: str) -> list[int]:
    """The lines that name something which reads a wall clock, however it was imported."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if node.attr in READERS.get(owner, set()):
                found.append(node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [node.lineno for alias in node.names if alias.name in READERS["time"]]
    return found


def test_only_the_clock_reads_the_wall_clock() -> None:
    found = {path.name: lines for path in SOURCES.rglob("*.py") if (lines := wall_clock_readings(path.read_text()))}
    assert list(found) == [OWNER.name]


@pytest.mark.parametrize(
    "source",
    [
        "import time; time.time()",
        "import time; started = time.time",
        "import time; time.time_ns()",
        "from time import monotonic, time",
        "from datetime import datetime; datetime.now(None)",
        "import datetime; datetime.datetime.now()",
        "from datetime import date; date.today()",
    ],
)
def test_a_reading_is_found(source: str) -> None:
    assert wall_clock_readings(source) == [1]


def test_durations_are_not_refused() -> None:
    assert wall_clock_readings("import time; time.monotonic(); time.sleep(1)") == []
