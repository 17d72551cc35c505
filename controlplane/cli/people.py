"""`brownout person`, `brownout login`, `brownout logout`."""

import os
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import click
import msgspec

from controlplane.access.actor import Action
from controlplane.cli.command import Argument, Listing, Noun, Option
from controlplane.cli.session import PASS_HEADER, USER_FILE, CliError, Target, find_nearer, write_private
from controlplane.cli.shown import table, when
from controlplane.cli.terminal import TICK
from controlplane.cli.verb import Call, verb
from controlplane.contract.problems import REFUSED, UNREACHABLE, USAGE

if TYPE_CHECKING:
    from controlplane.cli.client import Client, Response

app = Listing("person", "People and their roles.")

PersonArgument = Annotated[str, Argument(help="The id or the address.")]
RoleArgument = Annotated[str, Argument(help="viewer, editor, operator, approver or admin.")]
WhereOption = Annotated[str, Option("--in", help="An environment, or * for every one.")]


def register(root: Noun) -> None:
    root.add("login", login)
    root.add("logout", logout)


def login(
    url: Annotated[str, Argument(help="The control plane, e.g. https://brownout.example.com")],
    email: Annotated[str, Option(prompt=True)],
    password: Annotated[str, Option(prompt=True, hidden=True, help="Asked for if absent.")],
    days: Annotated[int, Option(min=1, max=3650, help="How long the token lasts.")] = 30,
    code: Annotated[str, Option(help="Of your authenticator app, or a recovery code; asked for.")] = "",
) -> None:
    """Sign in with a password (and the second factor) and keep a personal token for this user of this machine."""
    from controlplane.cli.client import Client, NoAnswerError

    http = Client(url.rstrip("/") + "/api/v1")
    try:
        entered, who = _entered(http.send("POST", "/session", {"email": email, "password": password}))
        if who["stage"] == "factor":
            entered, who = _second_factor(http, entered, who, code)
        if who["stage"] == "enrol":
            _end(f"your role needs a second factor: set one up at {url.rstrip('/')}/account first", REFUSED)
        secure = {"X-CSRF-Token": who["csrf"], "Cookie": _cookies(entered)}
        body = {"name": f"cli on {os.uname().nodename}"[:80], "lasts_s": days * 86_400}
        _, made = _entered(http.send("POST", "/tokens", body, secure))
        http.request("DELETE", "/session", headers=secure)
    except (NoAnswerError, msgspec.MsgspecError) as error:
        _end(f"{url} does not answer ({type(error).__name__})", UNREACHABLE)
    write_private(USER_FILE, Target(url.rstrip("/"), made["token"], operator_pass=_pass(url, made["token"])))
    click.echo(f"signed in as {email}; the token is in {USER_FILE} for {days} days")
    if nearer := find_nearer():
        click.echo(f"{nearer} comes first here; --data-dir {USER_FILE.parent} takes this token", err=True)


def _entered(response: "Response") -> "tuple[Response, dict[str, Any]]":
    """The response and its body. Ends the verb when it is a refusal."""
    body = msgspec.json.decode(response.content, type=dict[str, Any])
    if response.status != 201:
        _end(body.get("detail", "refused"), REFUSED)
    return response, body


def _second_factor(
    http: "Client", entered: "Response", who: dict[str, Any], code: str
) -> "tuple[Response, dict[str, Any]]":
    """The whole sign-in. A passkey needs a browser; a code or a recovery code does here."""
    if not code and not {"code", "recovery"} & set(who["proofs"]):
        _end("your passkey needs a browser: make an API token in the console, and pass it with --token", REFUSED)
    given = code or click.prompt("Code of your authenticator app, or a recovery code", hide_input=True)
    headers = {"X-CSRF-Token": who["csrf"], "Cookie": _cookies(entered)}
    return _entered(http.send("POST", "/session/second-factor", {"code": given}, headers))


def _cookies(response: "Response") -> str:
    """What it sets, to send back: `__Host-` cookies come back by plain HTTP from no other client."""
    return "; ".join(each.split(";", 1)[0] for each in response.headers.get_all("Set-Cookie", ()))


def logout() -> None:
    """Forget the token that `login` kept. It also ends by itself; `brownout token revoke` ends it everywhere."""
    USER_FILE.unlink(missing_ok=True)


def _pass(url: str, token: str) -> str:
    """An operator pass; empty if they may switch safe mode nowhere, or the control plane is older."""
    from controlplane.cli.client import Client, NoAnswerError

    headers = {"Authorization": f"Bearer {token}", PASS_HEADER: ""}
    try:
        answer = Client(url.rstrip("/") + "/api/v1").request("GET", "/session", headers=headers)
    except NoAnswerError:
        return ""
    return answer.headers.get(PASS_HEADER, "") or ""


def _end(message: str, exit_code: int) -> NoReturn:
    click.echo(f"✗ {message}", err=True)
    raise click.exceptions.Exit(exit_code)


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
    email: Annotated[str, Argument()],
    role: Annotated[list[str], Option(help="role or role@environment, repeatable; without it, all roles.")],
    name: Annotated[str, Option()] = "",
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
    call.answer(done, lambda: f"{TICK} {done.email} is {role} in {where}")


@verb(app, "revoke", action=Action.MANAGE_PEOPLE)
def revoke(call: Call, person: PersonArgument, role: RoleArgument, where: WhereOption = "*") -> None:
    """Take a role."""
    call.session.request("DELETE", f"/people/{_id(call, person)}/grants/{where}/{role}")
    call.answer({"revoked": role}, lambda: f"{TICK} no longer {role} in {where}")


@verb(app, "forget-factors", action=Action.MANAGE_PEOPLE)
def forget_factors(call: Call, person: PersonArgument) -> None:
    """Forget the second factors of a person who lost theirs, and end their sessions."""
    call.session.request("DELETE", f"/people/{_id(call, person)}/second-factors")
    call.answer({"forgotten": person}, lambda: f"{TICK} {person} signs in with the password alone")


@verb(app, "disable", action=Action.MANAGE_PEOPLE)
def disable(
    call: Call,
    person: PersonArgument,
    hand_tokens_to: Annotated[
        str, Option(help="The person who takes over their service tokens (id or address); without it, these end.")
    ] = "",
) -> None:
    """End their sessions and tokens, and refuse further sign-ins."""
    from controlplane.access.values import Person

    body = {"heir": _id(call, hand_tokens_to) if hand_tokens_to else ""}
    done = call.session.send("POST", f"/people/{_id(call, person)}/disable", body, Person)
    call.answer(done, lambda: f"{TICK} {done.email} is out")


@verb(app, "enable", action=Action.MANAGE_PEOPLE)
def enable(call: Call, person: PersonArgument) -> None:
    """Let them sign in again."""
    call.session.request("POST", f"/people/{_id(call, person)}/enable")
    call.answer({"enabled": person}, lambda: f"{TICK} {person} may sign in")


def _id(call: Call, person: str) -> str:
    from controlplane.contract.access import People

    if "@" not in person:
        return person
    found = next((p.id for p in call.session.get("/people", People).items if p.email == person.lower()), None)
    if found is None:
        raise CliError(f"no person has the address {person}", USAGE)
    return found
