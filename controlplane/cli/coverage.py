"""`brownout coverage` and `brownout pattern`."""

import sys
from collections.abc import Sequence
from typing import Annotated

import msgspec

from controlplane.access.actor import Action
from controlplane.cli.command import Argument, Listing, Noun, Option
from controlplane.cli.session import CliError
from controlplane.cli.shown import commit_text, table
from controlplane.cli.terminal import TICK, Shown, Table, styled
from controlplane.cli.verb import Call, verb
from controlplane.contract.dto import CommitOutput
from controlplane.contract.problems import USAGE
from controlplane.coverage.values import CoverageReport, PatternReport, PriceReport, RankReport
from controlplane.resilience.cell import Cell

coverage = Listing("coverage", "What answers when something fails.")
pattern = Noun("pattern", "The five resilience patterns of each request class.")
GROUPS = (coverage, pattern)


class Proposal(msgspec.Struct, frozen=True):
    """The answer to a pattern that was asked for."""

    proposal: int


ClassOption = Annotated[str, Option("--class", help="Only this request class.")]
DaysOption = Annotated[int, Option("--days", help="How far back requests count.")]


@verb(coverage, "list", action=Action.READ)
def cells(
    call: Call,
    *,
    request_class: ClassOption = "",
    profile: Annotated[str, Option("--profile", help="With this safe-mode profile in force.")] = "",
    every: Annotated[bool, Option("--all", help="With every profile, and without one.")] = False,
    gaps: Annotated[bool, Option("--gaps", help="Only cells without an answer.")] = False,
    revision: Annotated[int, Option("--revision", help="As it was at this revision; 0 is now.")] = 0,
    csv: Annotated[bool, Option("--csv", help="Answer in CSV.")] = False,
) -> None:
    """List what answers each request class in each failure mode, in the worst of all variants."""
    if csv and call.as_json:
        raise CliError("choose --csv or --json", USAGE)
    asked = {"request_class": request_class, "profile": None if every else profile, "revision": revision or None}
    given = {name: value for name, value in asked.items() if value is not None}
    if csv:
        sys.stdout.write(
            call.session.request("GET", call.session.path("coverage", "csv"), params=given).content.decode()
        )
        return
    found = call.session.get(call.session.path("coverage"), CoverageReport, **given)
    call.answer(found, lambda: _report(call, found, gaps=gaps))


def _report(call: Call, found: CoverageReport, *, gaps: bool) -> Table:
    said = found.summary
    call.terminal.print(
        f"r{found.revision}: {said.answered} of {said.possible} answered, {said.gaps} gaps, {said.accepted} accepted"
    )
    if found.unread:
        call.terminal.print(styled("yellow", f"! a newer version wrote {', '.join(found.unread)}: not evaluated"))
    cells = [cell for cell in found.cells if not gaps or cell.is_gap]
    return table(("request class", "failure mode", "safe mode", "answered by", "worst case"), map(_row, cells))


def _row(cell: Cell) -> Sequence[str]:
    case = ", ".join(f"{field} {name}" for field, name in cell.variants.items())
    worst = f"{cell.error or ''} {f'({case})' if case else ''}".strip()
    return cell.request_class, cell.mode, cell.profile or "off", _answer(cell), worst


def _answer(cell: Cell) -> str:
    if cell.accepted:
        return f"{cell.state} (accepted)"
    if cell.state == "answered":
        return f"{cell.rung} {cell.answer}".strip()
    words = cell.state.replace("_", " ")
    return styled("red", words) if cell.is_gap else styled("dim", words)


@verb(coverage, "defaults", action=Action.EDIT)
def defaults(call: Call) -> None:
    """Commit the standard failure modes that the environment lacks."""
    done = call.session.send("POST", call.session.path("coverage", "defaults"), {}, CommitOutput)
    call.answer(done, lambda: commit_text(done))


@verb(coverage, "ranks", action=Action.READ)
def ranks(call: Call, *, days: DaysOption = 30) -> None:
    """Rank failure modes: impact, times requests hit, times the share that degraded answers did not help."""
    found = call.session.get(call.session.path("coverage", "ranks"), RankReport, days=days)
    rows = [
        (mode.mode, f"{mode.score:,.0f}", part.request_class, part.impact, f"{part.hit:,}", _share(part.completion))
        for mode in found.modes
        for part in mode.classes
        if part.hit or part is mode.classes[0]
    ]
    columns = ("failure mode", "score", "request class", "impact", "requests hit", "completion while degraded")
    call.answer(found, lambda: table(columns, rows))


@verb(coverage, "prices", action=Action.READ)
def prices(call: Call, *, days: DaysOption = 30) -> None:
    """Show what each tier's requests cost, and what fallbacks cost for each request that they saved."""
    found = call.session.get(call.session.path("coverage", "prices"), PriceReport, days=days)
    rows = [
        (each.tier or "(no tier)", f"{each.requests:,}", f"{each.saved:,}", _money(each.cost), _money(each.fallback_cost),
         _money(each.per_saved, 4))
        for each in found.tiers
    ]  # fmt: skip
    columns = ("tier", "requests", "saved", "cost", "cost of fallbacks", "per saved request")
    call.answer(found, lambda: table(columns, rows))


@verb(pattern, "show", action=Action.READ)
def patterns(call: Call, *, request_class: ClassOption = "") -> None:
    """Show which patterns each request class has, and which its tier requires."""
    found = call.session.get(call.session.path("coverage", "patterns"), PatternReport, request_class=request_class)
    rows = [
        (one.request_class, one.tier or "-", each.pattern.replace("_", " "), _state(each.state, required=each.required),
         f"{each.served:,}")
        for one in found.classes
        for each in one.patterns
    ]  # fmt: skip
    call.answer(found, lambda: table(("request class", "tier", "pattern", "state", "served since the change"), rows))


def _state(state: str, *, required: bool) -> str:
    if state == "missing" and required:
        return styled("red", "missing, required")
    return styled("dim", state) if state == "missing" else f"{state}, required" if required else state


@verb(pattern, "add", action=Action.EDIT)
def add(
    call: Call,
    request_class: Annotated[str, Argument(help="A request class.")],
    name: Annotated[str, Argument(help="cached_responses, secondary_model, human_review, degraded_ui or safe_mode.")],
) -> None:
    """Propose the change that gives a request class a pattern."""
    body = {"request_class": request_class, "pattern": name.replace("-", "_")}
    done = call.session.send("POST", call.session.path("coverage", "patterns"), body, Proposal)

    def human() -> Shown:
        return f"{TICK} proposal {done.proposal}: see it with `brownout approval show {done.proposal}`"

    call.answer(done, human)


def _share(value: float | None) -> str:
    return "never seen" if value is None else f"{value:.0%}"


def _money(value: float | None, decimals: int = 2) -> str:
    return "-" if value is None else f"{value:,.{decimals}f}"
