"""`brownout budget`: how full the windows of token budgets are."""

from controlplane.access.actor import Action
from controlplane.budgets.values import BudgetList, BudgetWindow
from controlplane.cli.command import Noun
from controlplane.cli.shown import table, when
from controlplane.cli.terminal import Table, styled
from controlplane.cli.verb import Call, verb

app = Noun("budget", "Budgets that the fleet shares.")

COLUMNS = ("budget", "variant", "limit", "used", "fill", "resets at", "full at")


@verb(app, "status", action=Action.READ)
def status(call: Call) -> None:
    """Show how full each window is, and when it will be full at this rate."""
    found = call.session.get(call.session.path("budgets"), BudgetList)
    call.answer(found, lambda: _table(found))


def _table(found: BudgetList) -> Table | list[str]:
    if not found.counted:
        return [styled("yellow", "The counters cannot be read now. Instances spend what they hold; check /healthz.")]
    if not found.items:
        return [styled("dim", "no token budget has a window")]
    return table(COLUMNS, [_row(each) for each in found.items])


def _row(each: BudgetWindow) -> tuple[str, ...]:
    unit = {"usd_micros": "µ$"}.get(each.unit, each.unit)
    by = f" by {', '.join(each.scope)}" if each.scope else ""
    fill = f"{each.used_bp / 100:.1f} %"
    many = f" (fullest of {each.combinations:,}{'+' if each.more else ''})" if each.scope else ""
    return (
        each.flag, each.variant, f"{each.limit:,} {unit} per {each.per}{by}", f"{each.used:,}{many}", fill,
        when(each.resets_at), when(each.full_at) if each.full_at else "-",
    )  # fmt: skip
