"""`brownout env`."""

from typing import Annotated
from urllib.parse import quote

from controlplane.access.actor import Action
from controlplane.cli.command import Argument, Listing, Option
from controlplane.cli.shown import table, when
from controlplane.cli.terminal import TICK
from controlplane.cli.verb import Call, verb
from controlplane.contract.dto import EnvironmentOutput, Environments

app = Listing("env", "Environments: production, staging, …")


@verb(app, "list", action=Action.READ)
def list_environments(call: Call) -> None:
    """The environments you may read."""
    found = call.session.get("/environments", Environments)
    rows = [(e.key, e.name, "yes" if e.production else "", f"r{e.revision}", when(e.created_at)) for e in found.items]
    call.answer(found, lambda: table(("environment", "name", "production", "revision", "created"), rows))


@verb(app, "create", action=Action.MANAGE_ENVIRONMENT)
def create(
    call: Call,
    key: Annotated[str, Argument(help="1 to 40 of a-z, 0-9 and '-'.")],
    name: Annotated[str, Option(help="The display name.")] = "",
) -> None:
    """Make an environment with the standard safe-mode profiles in it."""
    made = call.session.send("POST", "/environments", {"key": key, "name": name}, EnvironmentOutput)
    call.answer(made, lambda: f"{TICK} {made.key} at revision {made.revision}")


@verb(app, "show", action=Action.READ)
def show(call: Call, key: Annotated[str, Argument()]) -> None:
    """One environment."""
    found = call.session.get(f"/environments/{key}", EnvironmentOutput)
    call.answer(found, lambda: table(("environment", "name", "revision"), [(found.key, found.name, found.revision)]))


@verb(app, "set", action=Action.MANAGE_ENVIRONMENT)
def change(
    call: Call,
    key: Annotated[str, Argument()],
    production: Annotated[
        bool,
        Option(
            "--production/--no-production", help="Whether it counts as production: the console then asks for its key."
        ),
    ],
) -> None:
    """Set whether an environment counts as production."""
    made = call.session.send(
        "PATCH", f"/environments/{quote(key, safe='')}", {"production": production}, EnvironmentOutput
    )
    said = "counts" if made.production else "does not count"
    call.answer(made, lambda: f"{TICK} {made.key} {said} as production")
