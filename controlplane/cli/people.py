"""`brownout person`, `brownout login`, `brownout logout`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer

from controlplane.access.actor import Action
from controlplane.cli.session import USER_FILE, CliError, Target, find_nearer
from controlplane.cli.shown import table, when
from controlplane.cli.verb import Call, Listing, verb
from controlplane.contract.problems import UNREACHABLE, USAGE

if TYPE_CHECKING:
    import httpx

app = typer.Typer(name="person", help="People and their roles.", cls=Listing)

PersonArgument = Annotated[str, typer.Argument(help="The id or the address.")]
RoleArgument = Annotated[str, typer.Argument(help="viewer, editor, operator, approver or admin.")]
WhereOption = Annotated[str, typer.Option("--in", help="An environment, or * for every one.")]


def register(root: typer.Typer) -> None:
    root.command("login")(login)
    root.command("logout")(logout)


def login(
    url: Annotated[str, typer.Argument(help="The control plane, e.g. https://brownout.example.com")],
    email: Annotated[str, typer.Option(prompt=True)],
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, help="Asked for if absent.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the token lasts.")] = 30,
    code: Annotated[str, typer.Option(help="Of your authenticator app, or a recovery code; asked for.")] = "",
) -> None:
    """Sign in with a password (and the second factor) and keep a personal token for this user of this machine."""
    import httpx

    with httpx.Client(base_url=url.rstrip("/") + "/api/v1", timeout=30) as http:
        try:
            entered = http.post("/session", json={"email": email, "password": password})
            if entered.status_code != 201:
                _end(entered.json().get("detail", "refused"), 1)
            if entered.json()["stage"] == "factor":
                entered = _second_factor(http, entered.json(), code)
            if entered.json()["stage"] == "enrol":
                _end(f"your role needs a second factor: set one up at {url.rstrip('/')}/account first", 1)
            secure = {"X-CSRF-Token": entered.json()["csrf"]}
            body = {"name": f"cli on {os.uname().nodename}"[:80], "lasts_s": days * 86_400}
            jar = _jar(http)
            made = http.post("/tokens", json=body, headers={**secure, "Cookie": jar})
            http.delete("/session", headers={**secure, "Cookie": jar})
        except (httpx.HTTPError, ValueError) as error:
            _end(f"{url} does not answer ({type(error).__name__})", UNREACHABLE)
    if made.status_code != 201:
        _end(made.json().get("detail", "refused"), 1)
    _keep(Target(url.rstrip("/"), made.json()["token"]))
    typer.echo(f"signed in as {email}; the token is in {USER_FILE} for {days} days")
    if nearer := find_nearer():
        typer.echo(f"{nearer} comes first here; --data-dir {USER_FILE.parent} takes this token", err=True)


def _second_factor(http: "httpx.Client", who: dict[str, Any], code: str) -> "httpx.Response":
    """The whole sign-in. A passkey needs a browser; a code or a recovery code does here."""
    if not code and not {"code", "recovery"} & set(who["proofs"]):
        _end("your passkey needs a browser: make an API token in the console, and pass it with --token", 1)
    given = code or typer.prompt("Code of your authenticator app, or a recovery code", hide_input=True)
    headers = {"X-CSRF-Token": who["csrf"], "Cookie": _jar(http)}
    entered = http.post("/session/second-factor", json={"code": given}, headers=headers)
    if entered.status_code != 201:
        _end(entered.json().get("detail", "refused"), 1)
    return entered


def _jar(http: "httpx.Client") -> str:
    """The cookies, whatever their address: `__Host-` ones come back by plain HTTP from no other client."""
    return "; ".join(f"{name}={value}" for name, value in {c.name: c.value or "" for c in http.cookies.jar}.items())


def logout() -> None:
    """Forget the token that `login` kept. It also ends by itself; `brownout token revoke` ends it everywhere."""
    USER_FILE.unlink(missing_ok=True)


def _keep(target: Target) -> None:
    USER_FILE.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = USER_FILE.with_suffix(f".{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(target))
    Path(partial).replace(USER_FILE)


def _end(message: str, exit_code: int) -> NoReturn:
    typer.echo(f"✗ {message}", err=True)
    raise typer.Exit(exit_code)


@verb(app, "list", action=Action.MANAGE_PEOPLE)
def list_people(call: Call) -> None:
    """List people and their roles."""
    from controlplane.contract.access import People

    found = call.session.get("/people", People)
    rows = [
        (
            p.email,
            ", ".join(f"{g.role} in {g.environment}" for g in p.grants),
            "disabled" if p.disabled_at else "",
            p.id,
        )
        for p in found.items
    ]
    call.answer(found, lambda: table(("person", "roles", "", "id"), rows))


@verb(app, "invite", action=Action.MANAGE_PEOPLE)
def invite(
    call: Call,
    email: Annotated[str, typer.Argument()],
    role: Annotated[list[str], typer.Option(help="role or role@environment, repeatable; without it, all roles.")],
    name: Annotated[str, typer.Option()] = "",
) -> None:
    """Add a person. Give them the link yourself; it works once."""
    from controlplane.contract.access import InvitationOutput

    grants: dict[str, list[str]] = {}
    for each in role:
        what, _, where = each.partition("@")
        grants.setdefault(where or "*", []).append(what)
    body = {"email": email, "name": name, "grants": grants}
    made = call.session.send("POST", "/people", body, InvitationOutput)
    call.answer(made, lambda: f"{made.email} gets in by this link, until {when(made.expires_at)}:\n{made.link}")


@verb(app, "reset", action=Action.MANAGE_PEOPLE)
def reset(call: Call, person: PersonArgument) -> None:
    """A new link for a person who cannot sign in."""
    from controlplane.contract.access import InvitationOutput

    made = call.session.send("POST", f"/people/{_id(call, person)}/reset", {}, InvitationOutput)
    call.answer(made, lambda: f"{made.email} gets in by this link, until {when(made.expires_at)}:\n{made.link}")


@verb(app, "grant", action=Action.MANAGE_PEOPLE)
def grant(call: Call, person: PersonArgument, role: RoleArgument, where: WhereOption = "*") -> None:
    """Give a role that you hold yourself."""
    from controlplane.access.values import Person

    body = {"environment": where, "role": role}
    done = call.session.send("POST", f"/people/{_id(call, person)}/grants", body, Person)
    call.answer(done, lambda: f"[green]✓[/] {done.email} is {role} in {where}")


@verb(app, "revoke", action=Action.MANAGE_PEOPLE)
def revoke(call: Call, person: PersonArgument, role: RoleArgument, where: WhereOption = "*") -> None:
    """Take a role."""
    call.session.request("DELETE", f"/people/{_id(call, person)}/grants/{where}/{role}")
    call.answer({"revoked": role}, lambda: f"[green]✓[/] no longer {role} in {where}")


@verb(app, "forget-factors", action=Action.MANAGE_PEOPLE)
def forget_factors(call: Call, person: PersonArgument) -> None:
    """Forget the second factors of a person who lost theirs, and end their sessions."""
    call.session.request("DELETE", f"/people/{_id(call, person)}/second-factors")
    call.answer({"forgotten": person}, lambda: f"[green]✓[/] {person} signs in with the password alone")


@verb(app, "disable", action=Action.MANAGE_PEOPLE)
def disable(
    call: Call,
    person: PersonArgument,
    hand_tokens_to: Annotated[
        str, typer.Option(help="The person who takes over their service tokens (id or address); without it, these end.")
    ] = "",
) -> None:
    """End their sessions and tokens, and refuse further sign-ins."""
    from controlplane.access.values import Person

    body = {"heir": _id(call, hand_tokens_to) if hand_tokens_to else ""}
    done = call.session.send("POST", f"/people/{_id(call, person)}/disable", body, Person)
    call.answer(done, lambda: f"[green]✓[/] {done.email} is out")


@verb(app, "enable", action=Action.MANAGE_PEOPLE)
def enable(call: Call, person: PersonArgument) -> None:
    """Let them sign in again."""
    call.session.request("POST", f"/people/{_id(call, person)}/enable")
    call.answer({"enabled": person}, lambda: f"[green]✓[/] {person} may sign in")


def _id(call: Call, person: str) -> str:
    from controlplane.contract.access import People

    if "@" not in person:
        return person
    found = next((p.id for p in call.session.get("/people", People).items if p.email == person.lower()), None)
    if found is None:
        raise CliError(f"no person has the address {person}", USAGE)
    return found
