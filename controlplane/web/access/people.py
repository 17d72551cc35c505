"""People and their roles: invite, give and take roles, make a new link, let nobody in any more."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from controlplane.access.actor import ANY_ENVIRONMENT, GRANTABLE, Action
from controlplane.access.people import Invitation, welcome_url
from controlplane.access.values import Person as Account
from controlplane.errors import BrownoutError
from controlplane.web.access.frame import Shown, Tab, tabs
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import words


class RoleTag(msgspec.Struct, frozen=True):
    environment: str
    role: str
    label: str
    fixed: bool
    """The identity provider gave it: only it takes it."""


class PersonRow(msgspec.Struct, frozen=True):
    id: str
    name: str
    email: str
    roles: tuple[RoleTag, ...]
    note: str
    created_at: datetime
    disabled: bool
    href: str


class PeoplePage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "access/people.html"

    frame: Frame
    tabs: tuple[Tab, ...]
    rows: tuple[PersonRow, ...]
    roles: tuple[Option, ...]
    places: tuple[Option, ...]
    heirs: tuple[Option, ...]
    """Who can take over the tokens of somebody's machines."""
    shown: Shown | None
    error: str
    invite_url: str
    email: str


class PeopleController(Controller):
    path = "/e/{environment:str}/access"
    include_in_schema = False

    @get(opt={"action": Action.READ})
    async def start(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Redirect:
        """The first tab that is theirs."""
        return Redirect(tabs(visit, environment, "")[0].href)

    @get("/people", opt={"action": Action.MANAGE_PEOPLE})
    async def list_people(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        return await _page(visit, environment)

    @post("/people", opt={"action": Action.MANAGE_PEOPLE}, status_code=200)
    async def invite(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        form = dict(await visit.form())
        email, role, place = (form.get(name, "") for name in ("email", "role", "place"))
        try:
            made = await visit.services.access.people.invite(visit.actor, email, form.get("name", ""), {place: [role]})
        except BrownoutError as error:
            return await _page(visit, environment, error=await visit.refusal(error), email=email)
        return await _page(visit, environment, shown=_link(visit, made))

    @post("/people/{person:str}", opt={"action": Action.MANAGE_PEOPLE}, status_code=200)
    async def change(
        self, visit: NamedDependency[Visit], environment: FromPath[str], person: FromPath[str]
    ) -> Response[Any]:
        """`do` is grant, revoke, reset, forget-factors, disable or enable."""
        form = dict(await visit.form())
        people, actor = visit.services.access.people, visit.actor
        place, role = form.get("place", ""), form.get("role", "")
        shown = None
        try:
            match form.get("do"):
                case "grant":
                    await people.grant(actor, person, place, role)
                case "revoke":
                    await people.revoke(actor, person, place, role)
                case "reset":
                    shown = _link(visit, await people.reset(actor, person))
                case "forget-factors":
                    await visit.services.access.factors.reset(actor, person)
                case "disable":
                    await people.disable(actor, person, heir=form.get("heir", ""))
                case "enable":
                    await people.enable(actor, person)
        except BrownoutError as error:
            return await _page(visit, environment, error=await visit.refusal(error))
        return await _page(visit, environment, shown=shown)


def _link(visit: Visit, made: Invitation) -> Shown:
    link = welcome_url(visit.services.settings.url, made.secret)
    return Shown(f"A link for {made.email}", link, "Send it to them. It works once, and is shown only now.")


async def _page(
    visit: Visit, environment: str, *, shown: Shown | None = None, error: str = "", email: str = ""
) -> Response[Any]:
    found = await visit.services.access.people.list_people(visit.actor)
    frame = await visit.frame(environment, "access")
    page = PeoplePage(
        frame=frame,
        tabs=tabs(visit, environment, "people"),
        rows=tuple(_row(environment, each) for each in found),
        roles=tuple(Option(role, words(role)) for role in GRANTABLE),
        places=(*(Option(each.key, each.name) for each in frame.environments), Option(ANY_ENVIRONMENT, "everywhere")),
        heirs=(
            Option("", "no one: they end"),
            *(Option(each.id, each.name) for each in found if each.disabled_at is None),
        ),
        shown=shown,
        error=error,
        invite_url=url(environment, "access", "people"),
        email=email,
    )
    return visit.page(page, 422 if error else 200)


def _row(environment: str, each: Account) -> PersonRow:
    roles = tuple(
        RoleTag(
            grant.environment,
            grant.role.value,
            f"{words(grant.role.value)} {'everywhere' if grant.environment == ANY_ENVIRONMENT else 'in ' + grant.environment}",
            grant.source != "local",
        )
        for grant in each.grants
    )
    note = "" if each.has_password or each.has_sso else "has not followed the link yet"
    return PersonRow(each.id, each.name, each.email, roles, note, each.created_at, each.disabled_at is not None,
                     url(environment, "access", "people", each.id))  # fmt: skip
