"""The coverage page: what answers each class in each failure mode, the gaps, the tiers and what they cost."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from brownout.model.operating import FailureMode, Pattern
from controlplane.access.actor import Action
from controlplane.configuration.store import every_spec
from controlplane.coverage.values import CoverageSummary, ModeRank, PatternView, TierPrice
from controlplane.errors import InvalidInputError
from controlplane.http.root import at
from controlplane.resilience.cell import Cell
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import count, plural, words
from controlplane.web.safe_mode.profiles import profile_cards

LOOKS = {
    "model": "model",
    "cache": "cache",
    "evidence": "evidence",
    "template": "template",
    "human_review": "human",
    "later": "later",
}
SAID = {"nothing": "nothing", "raw": "shown raw", "silent": "no notice", "too_many": "too many variants"}


class CellView(msgspec.Struct, frozen=True):
    """`look` is the class of the chip. Empty words: the failure cannot happen here."""

    mode: str
    words: str
    look: str
    note: str
    worst: str


class ClassRow(msgspec.Struct, frozen=True):
    key: str
    href: str
    note: str
    cells: tuple[CellView, ...]


class ModeHead(msgspec.Struct, frozen=True):
    title: str
    href: str


class Gap(msgspec.Struct, frozen=True):
    """`accepted` is why the gap is acceptable; empty for one that is not."""

    request_class: str
    href: str
    mode: str
    words: str
    worst: str
    accepted: str
    until: datetime | None


class RankRow(msgspec.Struct, frozen=True):
    title: str
    href: str
    score: str
    parts: tuple[str, ...]
    activate_href: str
    profile: str


class PatternCell(msgspec.Struct, frozen=True):
    name: str
    title: str
    state: str
    required: bool
    note: str
    may_add: bool


class PatternRow(msgspec.Struct, frozen=True):
    key: str
    tier: str
    cells: tuple[PatternCell, ...]


class PriceRow(msgspec.Struct, frozen=True):
    title: str
    href: str
    requests: str
    saved: str
    cost: str
    fallback_cost: str
    per_saved: str


class CoveragePage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "coverage/coverage.html"

    frame: Frame
    summary: CoverageSummary
    modes: tuple[ModeHead, ...]
    rows: tuple[ClassRow, ...]
    gaps: tuple[Gap, ...]
    profile: str
    profiles: tuple[Option, ...]
    unread: tuple[str, ...]
    ranks: tuple[RankRow, ...]
    patterns: tuple[PatternRow, ...]
    prices: tuple[PriceRow, ...]
    days: int
    csv_href: str
    modes_href: str
    tiers_href: str
    add_action: str


class CoverageController(Controller):
    path = "/e/{environment:str}/coverage"
    include_in_schema = False

    @get(opt={"action": Action.READ})
    async def show(
        self, visit: NamedDependency[Visit], environment: FromPath[str], *, profile: FromQuery[str] = ""
    ) -> Response[Any]:
        service, actor = visit.services.coverage, visit.actor
        frame = await visit.frame(environment, "coverage")
        report = await service.report(actor, environment, profile=profile)
        ranked = await service.ranks(actor, environment)
        kinds = (await service.patterns(actor, environment)).classes
        prices = await service.prices(actor, environment)
        cards = await profile_cards(visit, environment)
        modes = dict(await every_spec(visit.services.store, environment, "failure_mode", FailureMode))
        tiers = {each.request_class: each.tier for each in kinds}
        may_edit = visit.may(Action.EDIT, environment)
        may_switch = visit.may(Action.SAFE_MODE, environment)
        return visit.page(
            CoveragePage(
                frame=frame,
                summary=report.summary,
                modes=tuple(ModeHead(_title(key), url(environment, "failure-modes", key)) for key in modes),
                rows=_rows(environment, report.cells, list(modes), tiers),
                gaps=tuple(_gap(environment, cell) for cell in report.cells if cell.is_gap or cell.accepted),
                profile=profile,
                profiles=(Option("", "off"), *(Option(card.key, card.title) for card in cards)),
                unread=tuple(report.unread),
                ranks=tuple(
                    _rank(environment, rank, modes, may_switch=may_switch) for rank in ranked.modes if rank.hit
                ),
                patterns=tuple(
                    PatternRow(one.request_class, one.tier, tuple(_pattern(each, may_edit) for each in one.patterns))
                    for one in kinds
                ),
                prices=tuple(_price(environment, price) for price in prices.tiers),
                days=prices.days,
                csv_href=at(f"/api/v1/environments/{frame.environment.key}/coverage/csv"),
                modes_href=url(environment, "failure-modes"),
                tiers_href=url(environment, "service-tiers"),
                add_action=url(environment, "coverage", "patterns"),
            )
        )

    @post("/patterns", opt={"action": Action.EDIT}, status_code=200)
    async def add(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Redirect:
        """Proposes a pattern, and goes to the proposal."""
        form = dict(await visit.form())
        try:
            pattern = msgspec.convert(form.get("pattern"), Pattern)
        except msgspec.ValidationError:
            raise InvalidInputError("there is no such pattern. Nothing was saved") from None
        made = await visit.services.coverage.add_pattern(visit.actor, environment, form.get("class", ""), pattern)
        return Redirect(url(environment, "access", "approvals", str(made)), status_code=303)


def _title(key: str) -> str:
    return key.replace("-", " ").capitalize()


def _rows(environment: str, cells: list[Cell], modes: list[str], tiers: dict[str, str]) -> tuple[ClassRow, ...]:
    by_class: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        by_class.setdefault(cell.request_class, {})[cell.mode] = cell
    return tuple(
        ClassRow(
            key, url(environment, "request-classes", key), tiers.get(key, ""),
            tuple(_cell(mode, found.get(mode)) for mode in modes),
        )
        for key, found in by_class.items()
    )  # fmt: skip


def _cell(mode: str, cell: Cell | None) -> CellView:
    """A mode that does not concern a class is like one that cannot happen there."""
    if cell is None or cell.state == "not_possible":
        return CellView(_title(mode), "", "", "", "")
    worst = _worst(cell)
    if cell.accepted:
        return CellView(_title(mode), "accepted", "taken", SAID[cell.state], worst)
    if cell.state == "answered":
        assert cell.rung is not None
        return CellView(_title(mode), cell.answer or words(cell.rung), LOOKS[cell.rung], "", worst)
    return CellView(_title(mode), SAID[cell.state], "raw" if cell.state in {"raw", "silent"} else "gap", "", worst)


def _worst(cell: Cell) -> str:
    """`timeout, model haiku-5, ladder standard`: the case that a cell shows."""
    parts = [words(cell.error)] if cell.error else []
    return ", ".join([*parts, *(f"{field} {name}" for field, name in cell.variants.items())])


def _gap(environment: str, cell: Cell) -> Gap:
    return Gap(
        cell.request_class, url(environment, "request-classes", cell.request_class), _title(cell.mode),
        SAID[cell.state], _worst(cell), cell.accepted, cell.accepted_until,
    )  # fmt: skip


def _rank(environment: str, rank: ModeRank, modes: dict[str, FailureMode], *, may_switch: bool) -> RankRow:
    parts = tuple(
        f"{part.request_class}: impact {part.impact}, {plural(part.hit, 'request')} hit, {_completion(part.completion)}"
        for part in rank.classes
        if part.hit
    )
    profile = modes[rank.mode].profile if rank.mode in modes else None
    activate = url(environment, "safe-mode", "activate", profile=profile) if profile and may_switch else ""
    href = url(environment, "failure-modes", rank.mode)
    return RankRow(_title(rank.mode), href, count(rank.score), parts, activate, profile or "")


def _completion(share: float | None) -> str:
    return "no degraded request known to complete" if share is None else f"{share:.0%} of degraded requests completed"


def _pattern(each: PatternView, may_edit: bool) -> PatternCell:
    note = plural(each.served, "request") if each.state == "exercised" else ""
    if each.state == "stale":
        note = f"{plural(each.served_before, 'request')} before the last change"
    may_add = may_edit and each.state == "missing" and each.pattern != "other_provider"
    title = words(each.pattern).capitalize().replace("ui", "UI")
    return PatternCell(each.pattern, title, each.state, each.required, note, may_add)


def _price(environment: str, price: TierPrice) -> PriceRow:
    href = url(environment, "service-tiers", price.tier) if price.rank is not None else ""
    return PriceRow(
        price.tier or "No tier", href, count(price.requests), count(price.saved), _money(price.cost),
        _money(price.fallback_cost), _money(price.per_saved, 4),
    )  # fmt: skip


def _money(value: float | None, decimals: int = 2) -> str:
    return "-" if value is None else f"{value:,.{decimals}f}"
