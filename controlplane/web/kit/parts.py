"""What components show: the arguments of ui/templates/components, shared by many pages."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from brownout.evaluation.trace import Result
from controlplane.web.kit.frame import Tone


class Option(msgspec.Struct, frozen=True):
    value: str
    label: str


class CommitLine(msgspec.Struct, frozen=True):
    """One commit in a list."""

    revision: int
    summary: str
    author: str
    message: str
    created_at: datetime
    href: str
    undo_href: str = ""
    act: str = "Undo…"
    """What `undo_href` does: a review first, hence the dots."""


class DiffPart(msgspec.Struct, frozen=True):
    kind: Literal["same", "del", "add"]
    text: str


class DiffLine(msgspec.Struct, frozen=True):
    """`words`: a long text, shown as what was taken out and put in; `parts` are in reading order."""

    kind: Literal["at", "same", "del", "add", "words"]
    text: str
    parts: tuple[DiffPart, ...] = ()


class Rung(msgspec.Struct, frozen=True):
    """`gone`: safe mode excludes it; `now`: it serves in the excluded one's place."""

    kind: Literal["model", "cache", "evidence", "template", "human", "later"]
    label: str
    on: str = ""
    gone: bool = False
    now: bool = False


class NowThen(msgspec.Struct, frozen=True):
    """An effective value, without and with safe mode."""

    label: str
    now: str
    then: str


class SignalCell(msgspec.Struct, frozen=True):
    """A number, its unit and its sparkline; an empty value: no calls."""

    label: str
    value: str = ""
    unit: str = ""
    points: str = ""
    tone: Tone = ""


CellTone = Literal["", "new", "lag", "lost"]


class Cells(msgspec.Struct, frozen=True):
    """All instances of one tone as one path: five hundred rectangles would be five hundred elements."""

    tone: CellTone
    path: str


class FleetGroup(msgspec.Struct, frozen=True):
    """A service's instances at one revision."""

    service: str
    current: int
    total: int
    cells: tuple[Cells, ...]
    """Empty when there are too many to draw one by one."""
    width: int
    height: int

    @property
    def share(self) -> float:
        return self.current / self.total if self.total else 1.0


CELL, CELL_STEP, CELL_HEIGHT, CELL_ROW, MAX_ROW = 8, 10, 10, 13, 40
MAX_CELLS = 120
"""A service with more instances is a bar: nobody counts cells, and a page has to stay light."""


def fleet_group(service: str, tones: Sequence[CellTone]) -> FleetGroup:
    """Lays out one cell an instance, forty in a row; what lags is hollow, so that hue is not needed."""
    paths: dict[CellTone, list[str]] = {}
    for index, tone in enumerate(tones):
        hollow = tone in {"lag", "lost"}
        x, y = index % MAX_ROW * CELL_STEP + hollow, index // MAX_ROW * CELL_ROW + hollow
        width, height = CELL - 2 * hollow, CELL_HEIGHT - 2 * hollow
        paths.setdefault(tone, []).append(f"M{x} {y}h{width}v{height}h-{width}z")
    cells = tuple(Cells(tone, "".join(drawn)) for tone, drawn in paths.items())
    current = sum(tone in {"", "new"} for tone in tones)
    if len(tones) > MAX_CELLS:
        return FleetGroup(service, current, len(tones), (), 0, 0)
    rows = max(1, -(-len(tones) // MAX_ROW))
    width = min(len(tones), MAX_ROW) * CELL_STEP
    return FleetGroup(service, current, len(tones), cells, width, rows * CELL_ROW - (CELL_ROW - CELL_HEIGHT))


SPARK_WIDTH, SPARK_TOP, SPARK_BOTTOM = 64, 3, 16


def sparkline(values: Sequence[float | None]) -> str:
    """The points of a polyline in a 64 by 20 box; the scale starts at zero, so that flat noise looks flat."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    first = next(index for index, value in enumerate(values) if value is not None)
    values = values[min(first, len(values) - 2) :]  # what is younger than the chart fills it
    top = max(known) or 1.0
    step = SPARK_WIDTH / (len(values) - 1)
    return " ".join(
        f"{index * step:.0f},{SPARK_BOTTOM - value / top * (SPARK_BOTTOM - SPARK_TOP):.0f}"
        for index, value in enumerate(values)
        if value is not None
    )


SAID: Mapping[Result, str] = {
    "held": "held",
    "failed": "did not hold",
    "unknown": "unknown: the context does not say",
    "invalid": "cannot be read",
}


class ClauseLine(msgspec.Struct, frozen=True):
    """One condition that was tried on a context."""

    text: str
    result: str
    held: bool

    @classmethod
    def of(cls, text: str, result: Result) -> "ClauseLine":
        return cls(text, SAID[result], result == "held")


class Whisker(msgspec.Struct, frozen=True):
    """An interval against its limit, in a 144 by 16 box."""

    zero: float
    low: float
    middle: float
    high: float
    limit: float
    waits: bool


class StageStep(msgspec.Struct, frozen=True):
    """One stage of a rollout's track."""

    title: str
    state: str
    detail: str
    phase: Literal["done", "current", "next"]
