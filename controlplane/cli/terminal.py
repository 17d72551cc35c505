"""What the command line prints: styled lines, and tables without borders.

Text from the server is never trusted: control characters in it are shown, not obeyed.
"""

import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36", "alarm": "1;30;43"}
_MARK = re.compile("\ue000([0-9;]*)m")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_GAP, _LEAST = "  ", 8
"""Between columns; the least width that a column is folded to."""


def styled(style: str, text: object) -> str:
    """Returns `text` marked; `Terminal.print` turns the marks into colours, or drops them."""
    return f"\ue000{_CODES[style]}m{text}\ue0000m"


TICK = styled("green", "✓")


class Table:
    """Columns under dim headings. Cells fold where the terminal is narrow, those of `fixed` columns never."""

    def __init__(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, fixed: frozenset[int] = frozenset()
    ) -> None:
        self.columns, self.fixed = columns, fixed
        self.rows = [[str(cell) for cell in row] for row in rows]

    def lines(self, width: int) -> Iterator[str]:
        widths = [
            max(wide(line) for cell in column for line in cell.split("\n"))
            for column in zip(self.columns, *self.rows, strict=True)
        ]
        foldable = [i for i in range(len(widths)) if i not in self.fixed]
        while sum(widths) + len(_GAP) * (len(widths) - 1) > width:
            widest = max(foldable, key=widths.__getitem__, default=None)
            if widest is None or widths[widest] <= _LEAST:
                break
            widths[widest] -= 1
        if any(self.columns):
            yield from _row([styled("dim", column) for column in self.columns], widths)
        for row in self.rows:
            yield from _row(row, widths)


Shown = str | Table | Sequence["Shown"]


class Terminal:
    """One output stream: how wide it is, and whether it shows colours."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self.live = self._stream.isatty()
        self._coloured = self.live and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.width, self.height = _size() if self.live else (200, 0)

    def print(self, shown: Shown) -> None:
        for line in self._lines(shown):
            self._stream.write(self._drawn(line) + "\n")

    def _lines(self, shown: Shown) -> Iterator[str]:
        if isinstance(shown, str):
            yield from shown.split("\n")
        elif isinstance(shown, Table):
            yield from shown.lines(self.width)
        else:
            for each in shown:
                yield from self._lines(each)

    def _drawn(self, line: str) -> str:
        return _MARK.sub("\x1b[\\1m" if self._coloured else "", _CONTROL.sub("\ufffd", line))

    def redraw(self, shown: Shown, above: int) -> int:
        """Draws over the last `above` rows, and returns how many rows it took. It draws what fits."""
        self._stream.write(f"\x1b[{above}F\x1b[J" if above else "")
        rows = 0
        for line in self._lines(shown):
            needed = max(1, -(-wide(line) // self.width))
            if rows + needed >= self.height:
                break
            self._stream.write(self._drawn(line) + "\n")
            rows += needed
        self._stream.flush()
        return rows


class Live:
    """Shows something that changes in place. Where there is no terminal, only its last state is printed."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._rows = 0
        self._last: Shown | None = None

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._last is not None and not self._terminal.live:
            self._terminal.print(self._last)

    def update(self, shown: Shown) -> None:
        self._last = shown
        if self._terminal.live:
            self._rows = self._terminal.redraw(shown, self._rows)


def wide(text: str) -> int:
    """The columns that a line takes: marks take none, East Asian characters two."""
    text = _MARK.sub("", text)
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _size() -> tuple[int, int]:
    try:
        found = os.get_terminal_size()
    except OSError:
        return 80, 24
    return found.columns or 80, found.lines or 24


def _row(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    folded = [list(_folded(cell, width)) for cell, width in zip(cells, widths, strict=True)]
    for index in range(max(map(len, folded))):
        parts = [lines[index] if index < len(lines) else "" for lines in folded]
        yield _GAP.join(part + " " * (width - wide(part)) for part, width in zip(parts, widths, strict=True)).rstrip()


def _folded(cell: str, width: int) -> Iterator[str]:
    """Lines of at most `width` columns, broken between words where that is possible."""
    for line in cell.split("\n"):
        rest = line
        while wide(rest) > width:
            cut = next((i for i in range(1, len(rest) + 1) if wide(rest[:i]) > width), len(rest)) - 1
            space = rest.rfind(" ", 0, cut + 1)
            end = space if space > 0 else max(cut, 1)
            yield rest[:end].rstrip()
            rest = rest[end:].lstrip()
        yield rest
