"""The log holds the first lines of a flood and the number of the others."""

import logging
from collections.abc import Callable

import pytest
import structlog

from controlplane.kit.logs import configure_logging
from controlplane.kit.repeated import MAX_KINDS, SHOWN, WINDOW_S, Repeated


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[Callable[[], None]] = []
        self.told: list[str] = []
        self.filter = Repeated(self._write, lambda: self.now, lambda _, call: self.due.append(call))

    def _write(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())

    def say(self, event: str, times: int = 1, name: str = "a") -> int:
        """How many of them are written."""
        records = [
            logging.LogRecord(name, logging.WARNING, "", 0, {"event": event, "n": n}, None, None) for n in range(times)
        ]
        return sum(self.filter.filter(record) for record in records)

    def pass_window(self) -> None:
        self.now += WINDOW_S
        due, self.due = self.due, []
        for call in due:
            call()


def test_a_flood_is_five_lines_and_a_number() -> None:
    world = World()
    assert world.say("bad", 10_000) == SHOWN
    assert world.say("other") == 1
    assert len(world.due) == 1, "one timer, however many lines"
    world.pass_window()
    assert world.told == [f"{10_000 - SHOWN} more lines like: bad"]
    assert world.say("bad", 2) == 2, "a new window shows lines again"
    world.pass_window()
    assert len(world.told) == 1, "nothing was left out"


def test_a_flood_that_goes_on_is_told_every_window() -> None:
    world = World()
    shown = 0
    for _ in range(10):
        shown += world.say("bad", 1_000)
        world.pass_window()
    assert shown == 10 * SHOWN
    assert world.told == [f"{1_000 - SHOWN} more lines like: bad"] * 10


def test_however_many_kinds_there_are_memory_is_bounded() -> None:
    world = World()
    assert sum(world.say(f"bad {n}") for n in range(MAX_KINDS * 3)) == MAX_KINDS + SHOWN
    assert len(world.filter._kinds) == MAX_KINDS + 1


def test_our_own_lines_and_the_libraries_go_through_it(capsys: pytest.CaptureFixture[str]) -> None:
    kept = logging.getLogger().handlers, logging.getLogger().level
    try:
        configure_logging("json", "warning")
        for n in range(100):
            structlog.get_logger("ours").warning("flood", n=n)
            logging.getLogger("theirs").warning("flood %d", n)
        for each in logging.getLogger().handlers[0].filters:
            assert isinstance(each, Repeated)
            each._monotonic = lambda: float("inf")
            each.tell()
    finally:
        logging.getLogger().handlers, level = kept[0], kept[1]
        logging.getLogger().setLevel(level)
        structlog.reset_defaults()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 * SHOWN + 2
    assert [line.count("95 more lines like: flood") for line in lines[-2:]] == [1, 1]
