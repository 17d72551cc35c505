"""How answers look in a terminal."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controlplane.contract.dto import ChangeOutput, CommitOutput, ResourceDiffOutput
from controlplane.telemetry.values import Delivered

if TYPE_CHECKING:
    from rich.syntax import Syntax


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="dim")
    for index, column in enumerate(columns):
        made.add_column(column, overflow="fold", no_wrap=index == 0 or column in {"at", "left", "revision"})
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def json_text(raw: bytes) -> "Syntax":
    from rich.syntax import Syntax

    return Syntax(msgspec.json.format(raw, indent=2).decode(), "json", background_color="default", word_wrap=True)


def when(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")


def left(seconds: float) -> str:
    """`1h 05m`, `4m 09s`, `12s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def warning_lines(warnings: tuple[str, ...]) -> list[Text]:
    return [Text.assemble(("! ", "bold yellow"), (warning, "yellow")) for warning in warnings]


def commit_text(commit: CommitOutput) -> RenderableType:
    if commit.unchanged:
        return Text("nothing changed", style="dim")
    lines = [Text.assemble(("✓ ", "green"), f"revision {commit.revision}")]
    lines += [Text(f"  {line}") for line in commit.effective]
    lines += warning_lines(commit.warnings)
    return Group(*lines)


def delivery_text(found: Delivered) -> str:
    """`committed r12 · published · 34 of 36 instances`; in plain words when it was not published within the second."""
    committed = f"committed r{found.committed}"
    if not found.is_published:
        known = f"NATS has r{found.published}" if found.published is not None else "it is not known what NATS has"
        return (
            f"{committed} · [yellow]not published yet[/]: {known}. It is saved, and instances get it as soon as it is "
            "published.\nCheck /healthz of the control plane, then `brownout fleet status`."
        )
    how = "published over core NATS, because JetStream does not answer" if found.via == "core" else "published"
    if not found.expected:
        return f"{committed} · {how} · no instance is live"
    return f"{committed} · {how} · {found.applied} of {found.expected} instances"


def changes_text(changes: Sequence[ChangeOutput | ResourceDiffOutput]) -> RenderableType:
    """Each changed resource, its lines before and after side by side in one diff."""
    if not changes:
        return Text("no difference", style="dim")
    return Group(*(part for change in changes for part in _change(change)))


def _change(change: ChangeOutput | ResourceDiffOutput) -> Iterable[Text]:
    before, after = (None if bytes(side) == b"null" else bytes(side) for side in (change.before, change.after))
    sign, style = ("+", "green") if before is None else ("-", "red") if after is None else ("~", "yellow")
    yield Text(f"{sign} {change.kind} {change.key}", style=style)
    for line in diff_lines(before, after):
        yield Text(f"    {line}", style={"+": "green", "-": "red"}.get(line[0], "dim"))


def diff_lines(before: bytes | None, after: bytes | None) -> Iterable[str]:
    import difflib

    old, new = (msgspec.json.format(side, indent=2).decode().splitlines() if side else [] for side in (before, after))
    for line in difflib.unified_diff(old, new, lineterm="", n=1):
        if not line.startswith(("---", "+++", "@@")):
            yield line
