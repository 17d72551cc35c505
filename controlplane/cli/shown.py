"""How answers look in a terminal."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from controlplane.cli.terminal import TICK, Table, styled
from controlplane.contract.dto import ChangeOutput, CommitOutput, ResourceDiffOutput
from controlplane.telemetry.values import Delivered


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    fixed = frozenset(i for i, column in enumerate(columns) if i == 0 or column in {"at", "left", "revision"})
    return Table(columns, rows, fixed=fixed)


def json_text(raw: bytes) -> str:
    return msgspec.json.format(raw, indent=2).decode()


def when(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")


def left(seconds: float) -> str:
    """`1h 05m`, `4m 09s`, `12s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def warning_lines(warnings: tuple[str, ...]) -> list[str]:
    return [styled("yellow", f"! {warning}") for warning in warnings]


def commit_text(commit: CommitOutput) -> list[str]:
    if commit.unchanged:
        return [styled("dim", "nothing changed")]
    lines = [f"  {line}" for line in commit.effective]
    return [f"{TICK} revision {commit.revision}", *lines, *warning_lines(commit.warnings)]


def delivery_text(found: Delivered) -> str:
    """`committed r12 · published · 34 of 36 instances`; in plain words when it was not published within the second."""
    committed = f"committed r{found.committed}"
    if not found.is_published:
        known = f"NATS has r{found.published}" if found.published is not None else "it is not known what NATS has"
        return (
            f"{committed} · {styled('yellow', 'not published yet')}: {known}. It is saved, and instances get it as soon as it is "
            "published.\nCheck /healthz of the control plane, then `brownout fleet status`."
        )
    how = "published over core NATS, because JetStream does not answer" if found.via == "core" else "published"
    if not found.expected:
        return f"{committed} · {how} · no instance is live"
    return f"{committed} · {how} · {found.applied} of {found.expected} instances"


def changes_text(changes: Sequence[ChangeOutput | ResourceDiffOutput]) -> list[str]:
    """Each changed resource, its lines before and after side by side in one diff."""
    if not changes:
        return [styled("dim", "no difference")]
    return [line for change in changes for line in _change(change)]


def _change(change: ChangeOutput | ResourceDiffOutput) -> Iterable[str]:
    before, after = (None if bytes(side) == b"null" else bytes(side) for side in (change.before, change.after))
    sign, style = ("+", "green") if before is None else ("-", "red") if after is None else ("~", "yellow")
    yield styled(style, f"{sign} {change.kind} {change.key}")
    for line in diff_lines(before, after):
        yield styled({"+": "green", "-": "red"}.get(line[0], "dim"), f"    {line}")


def diff_lines(before: bytes | None, after: bytes | None) -> Iterable[str]:
    import difflib

    old, new = (msgspec.json.format(side, indent=2).decode().splitlines() if side else [] for side in (before, after))
    for line in difflib.unified_diff(old, new, lineterm="", n=1):
        if not line.startswith(("---", "+++", "@@")):
            yield line
