"""Budgets: how full each window is, and when it will be full at this rate."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from controlplane.access.actor import Action
from controlplane.budgets.values import BudgetWindow
from controlplane.web.kit.frame import Frame, Tone
from controlplane.web.kit.framing import url
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import count, plural, words

UNITS = {"tokens": "tokens", "requests": "requests", "usd_micros": "US dollars"}


class WindowRow(msgspec.Struct, frozen=True):
    flag: str
    variant: str
    href: str
    limit: str
    used: str
    fill: str
    width: str
    """Of the bar, in percent."""
    tone: Tone
    by: str
    """Which attributes count apart; empty when everyone counts together."""
    combinations: str
    resets_at: datetime
    full_at: datetime | None


class BudgetsPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "budgets/budgets.html"

    frame: Frame
    rows: tuple[WindowRow, ...]
    counted: bool
    flags_href: str


class BudgetsController(Controller):
    path = "/e/{environment:str}/budgets"
    include_in_schema = False

    @get(opt={"action": Action.READ})
    async def show(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        frame = await visit.frame(environment, "budgets")
        found = await visit.services.budgets.list_windows(visit.actor, environment)
        rows = tuple(_row(environment, each) for each in found.items)
        return visit.page(
            BudgetsPage(
                frame=frame, rows=rows, counted=found.counted, flags_href=url(environment, "flags", type="token_budget")
            )
        )


def _row(environment: str, each: BudgetWindow) -> WindowRow:
    tone: Tone = "broken" if each.used_bp >= 10_000 else "degraded" if each.full_at else ""
    more = " or more" if each.more else ""
    return WindowRow(
        flag=each.flag,
        variant=each.variant,
        href=url(environment, "flags", each.flag),
        limit=f"{_amount(each.limit, each.unit)} {'an' if each.per == 'hour' else 'a'} {each.per}",
        used=_amount(each.used, each.unit),
        fill=f"{each.used_bp / 100:.3g} %",
        width=f"{min(100.0, each.used_bp / 100):.1f}",
        tone=tone,
        by=", ".join(map(words, each.scope)),
        combinations=f"{plural(each.combinations, 'combination')}{more}" if each.scope else "",
        resets_at=each.resets_at,
        full_at=each.full_at,
    )


def _amount(number: int, unit: str) -> str:
    if unit == "usd_micros":
        return f"${number / 1e6:,.2f}"
    return f"{count(number)} {UNITS[unit]}"
