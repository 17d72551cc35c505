"""`brownout address`: where people and tokens may come from."""

import asyncio
import os
from typing import Annotated

import click

from controlplane.access.actor import Action
from controlplane.cli.command import Argument, Listing, Option
from controlplane.cli.servers import refusing
from controlplane.cli.shown import table, when
from controlplane.cli.terminal import TICK
from controlplane.cli.verb import Call, verb
from controlplane.settings import Secret, read_value

app = Listing("address", "Networks that people and tokens may come from.")

WhereOption = Annotated[str, Option("--in", help="An environment, or * for every one.")]
RoleOption = Annotated[str, Option(help="A role, or * for every one.")]


@verb(app, "list", action=Action.MANAGE_PEOPLE)
def list_rules(call: Call) -> None:
    """Every rule."""
    from controlplane.contract.access import AddressRuleList

    found = call.session.get("/address-rules", AddressRuleList)
    rows = [(r.environment, r.role, ", ".join(r.networks), r.changed_by, when(r.changed_at)) for r in found.items]
    call.answer(found, lambda: table(("environment", "role", "from", "by", "changed"), rows))


@verb(app, "set", action=Action.MANAGE_PEOPLE)
def set_rule(
    call: Call,
    networks: Annotated[list[str], Argument(help="Networks or addresses: 10.0.0.0/8 203.0.113.7")],
    *,
    where: WhereOption = "*",
    role: RoleOption = "*",
    force: Annotated[bool, Option("--force", help="Even if your own address is not among them.")] = False,
) -> None:
    """Let a role count from these networks only."""
    from controlplane.access.values import AddressRow

    body = {"networks": networks, "environment": where, "role": role, "force": force}
    made = call.session.send("PUT", "/address-rules", body, AddressRow)
    call.answer(made, lambda: f"{TICK} {made.role} in {made.environment}: only from {', '.join(made.networks)}")


@verb(app, "delete", action=Action.MANAGE_PEOPLE)
def delete_rule(call: Call, where: WhereOption = "*", role: RoleOption = "*") -> None:
    """Let a role count from anywhere again."""
    call.session.request("DELETE", "/address-rules", params={"environment": where, "role": role})
    call.answer({"deleted": role}, lambda: f"{TICK} {role} in {where}: from anywhere")


def clear() -> None:
    """Delete every rule in the database, after you locked yourself out. Reads BROWNOUT_DATABASE_URL."""
    with refusing():
        number = asyncio.run(_clear(read_value("DATABASE_URL", Secret, os.environ).reveal()))
    click.echo(f"deleted {number} rule{'' if number == 1 else 's'}")


app.add("clear", clear)


async def _clear(url: str) -> int:
    from controlplane.access.actor import system_actor
    from controlplane.access.address_rules import AddressRules
    from controlplane.access.audit import Audit
    from controlplane.access.memory import ActorMemory
    from controlplane.kit.clock import SystemClock
    from controlplane.kit.database import Database

    database, clock = Database(url, pool_size=1), SystemClock()
    try:
        rules = AddressRules(database, clock, Audit(database, clock), ActorMemory(), ())
        return await rules.clear(system_actor("system:address-clear"))
    finally:
        await database.close()
