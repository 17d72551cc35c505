"""`python -m tests.bench [name…]`: runs the benches (all, or those named) and fails when a ratio does not hold."""

import sys
from importlib import import_module
from pathlib import Path
from typing import cast

from rich.console import Console

from tests.bench.report import Report

PREFIX = "bench_"


def main(names: list[str]) -> int:
    console = Console(soft_wrap=True, highlight=False)
    known = sorted(file.stem.removeprefix(PREFIX) for file in Path(__file__).parent.glob(f"{PREFIX}*.py"))
    unknown = set(names) - set(known)
    if unknown:
        console.print(f"there is no bench {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
        return 2
    failed = False
    for name in names or known:
        report = cast(Report, import_module(f"tests.bench.{PREFIX}{name}").run())
        console.print(f"\n[bold]{report.title}[/bold]  ({name})")
        for what, figure in report.figures.items():
            console.print(f"  {what:<64} {figure:>12}")
        for ratio in report.ratios:
            failed |= not ratio.holds
            bound = "" if ratio.bound is None else f"  must be ≤ {ratio.bound:g}"
            console.print(
                f"  {ratio.what:<64} {ratio.value:>11.2f}x{bound}{'' if ratio.holds else '  [red]FAILS[/red]'}"
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
