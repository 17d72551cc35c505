"""Signing in and out, and the one-time links of first-run setup, invitations and resets."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery
from litestar.response import Redirect

from controlplane.access.actor import Actor
from controlplane.access.csrf import safe_path
from controlplane.access.sessions import Origin, SignedIn
from controlplane.contract.problems import headers_of, status_of
from controlplane.errors import BrownoutError, UnauthenticatedError
from controlplane.http.cookies import Cookies
from controlplane.http.forms import read_form
from controlplane.http.guard import check_origin, origin_of
from controlplane.http.root import at
from controlplane.http.step_up import CODE, PASSKEY, proof_of
from controlplane.services import Services
from controlplane.web.kit.render import Templates, View

SSO_ERRORS = {
    "again": "Your identity provider has not confirmed you for a while. Sign in again.",
    "unavailable": "The identity provider does not answer. Try again, or use your password.",
    "refused": "The identity provider did not let you in, or you are not known here.",
}
PURPOSES = {
    "setup": ("Set up Brownout", "You will be its first administrator."),
    "invite": ("Welcome to Brownout", "Choose a password, and you are in."),
    "reset": ("Choose a new password", "Your other sessions and your API tokens end."),
}
DEAD_LINK = ("This link does not work any more", "Ask for another one.")


class SignInPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "access/sign_in.html"

    email: str
    error: str
    next: str
    sso_href: str
    """Where the identity provider is asked; empty when there is none."""
    passkeys: bool
    """Whether there are passkeys at this address."""


class SecondFactorPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "access/second_factor.html"

    email: str
    csrf: str
    next: str
    by_code: bool
    by_passkey: bool
    error: str


class WelcomePage(View, frozen=True, kw_only=True):
    """The link's secret is in the address's fragment, which only a script can read; it then asks for the form."""

    template: ClassVar[str] = "access/welcome.html"


class WelcomeForm(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "access/welcome_form.html"

    purpose: str
    title: str
    text: str
    link: str
    email: str
    name: str
    error: str


class WelcomeFormPage(WelcomeForm, frozen=True, kw_only=True):
    """The same form as a whole page: what was typed did not do."""

    template: ClassVar[str] = "access/welcome_step.html"


@dataclass(frozen=True)
class Door:
    """One request of somebody who is not in yet."""

    request: Request[Any, Any, Any]
    services: Services
    templates: Templates

    async def form(self) -> Mapping[str, str]:
        """What was sent, from a page of ours; a field that is missing is empty."""
        check_origin(self.request, self.services)
        return defaultdict(str, await read_form(self.request))

    @property
    def origin(self) -> Origin:
        return origin_of(self.request, self.services)

    def show(self, view: View) -> Response[Any]:
        return self.templates.response(view)

    def refuse(self, view: View, error: BrownoutError) -> Response[Any]:
        return self.templates.response(view, status_of(error), headers_of(error))

    def enter(self, entered: SignedIn, onward: str) -> Redirect:
        if entered.stage == "factor":
            onward = f"/sign-in/second-factor?next={quote(onward, safe='/')}"
        return Redirect(at(onward), status_code=303, cookies=Cookies(self.services.settings.url).signed_in(entered))

    def sign_in_page(self, onward: str, *, error: str, email: str = "") -> SignInPage:
        sso = at(f"/auth/oidc/start?then={quote(onward, safe='/')}") if self.services.sso is not None else ""
        return SignInPage(
            email=email, error=error, next=onward, sso_href=sso, passkeys=not self.services.access.passkeys.obstacle
        )

    def second_factor_page(self, actor: Actor, onward: str, *, error: str = "") -> SecondFactorPage:
        return SecondFactorPage(
            email=actor.name,
            csrf=self.services.access.csrf.token(actor.credential),
            next=onward,
            by_code="code" in actor.proofs,
            by_passkey="passkey" in actor.proofs,
            error=error,
        )


async def provide_door(
    request: Request[Any, Any, Any], services: NamedDependency[Services], templates: NamedDependency[Templates]
) -> Door:
    return Door(request, services, templates)


class SignInController(Controller):
    include_in_schema = False
    dependencies = {"door": Provide(provide_door)}  # noqa: RUF012 - the framework's own

    @get("/sign-in", opt={"public": True})
    async def show_sign_in(
        self,
        door: NamedDependency[Door],
        *,
        next: FromQuery[str] = "/",  # noqa: A002 - the name in the address
        sso: FromQuery[str] = "",
    ) -> Response[Any]:
        return door.show(door.sign_in_page(safe_path(next), error=SSO_ERRORS.get(sso, "")))

    @post("/sign-in", opt={"public": True}, status_code=200)
    async def sign_in(self, door: NamedDependency[Door]) -> Response[Any]:
        form = await door.form()
        email, onward = form["email"], safe_path(form["next"] or "/")
        try:
            entered = await door.services.access.sign_in.with_password(email, form["password"], door.origin)
        except BrownoutError as error:
            return door.refuse(door.sign_in_page(onward, error=error.message, email=email), error)
        return door.enter(entered, onward)

    @post("/sign-in/passkey", opt={"public": True}, status_code=200)
    async def sign_in_with_passkey(self, door: NamedDependency[Door]) -> Response[Any]:
        form = await door.form()
        onward, proof = (
            safe_path(form["next"] or "/"),
            proof_of(door.request, door.services, {PASSKEY: form["passkey"]}),
        )
        try:
            entered = await door.services.access.sign_in.with_passkey(proof.ceremony, proof.passkey or {}, door.origin)
        except BrownoutError as error:
            return door.refuse(door.sign_in_page(onward, error=error.message), error)
        return door.enter(entered, onward)

    @get("/sign-in/second-factor", opt={"signed_in": True, "unfinished": ("factor",)})
    async def show_second_factor(
        self,
        door: NamedDependency[Door],
        actor: NamedDependency[Actor],
        *,
        next: FromQuery[str] = "/",  # noqa: A002 - the name in the address
    ) -> Response[Any]:
        onward = safe_path(next)
        return (
            door.show(door.second_factor_page(actor, onward)) if actor.stage else Redirect(at(onward), status_code=303)
        )

    @post("/sign-in/second-factor", opt={"signed_in": True, "unfinished": ("factor",)}, status_code=200)
    async def second_factor(self, door: NamedDependency[Door], actor: NamedDependency[Actor]) -> Response[Any]:
        form = await door.form()
        onward = safe_path(form["next"] or "/")
        proof = proof_of(door.request, door.services, {CODE: form["code"], PASSKEY: form["passkey"]})
        try:
            entered = await door.services.access.sign_in.with_second_factor(actor, proof, door.origin)
        except UnauthenticatedError:
            return Redirect(at("/sign-in"), status_code=303)
        except BrownoutError as error:
            return door.refuse(door.second_factor_page(actor, onward, error=error.message), error)
        return door.enter(entered, onward)

    @get("/welcome", opt={"public": True})
    async def welcome(self, door: NamedDependency[Door]) -> Response[Any]:
        return door.show(WelcomePage())

    @post("/welcome/form", opt={"public": True}, status_code=200)
    async def welcome_form(self, door: NamedDependency[Door]) -> Response[Any]:
        """The form that fits the link."""
        link = (await door.form())["link"]
        purpose = await door.services.access.sign_in.peek(link) or ""
        title, text = PURPOSES.get(purpose, DEAD_LINK)
        form = WelcomeForm(purpose=purpose, title=title, text=text, link=link, email="", name="", error="")
        return door.show(form)

    @post("/welcome", opt={"public": True}, status_code=200)
    async def use_link(self, door: NamedDependency[Door]) -> Response[Any]:
        sent = await door.form()
        link, email, name = sent["link"], sent["email"], sent["name"]
        sign_in = door.services.access.sign_in
        purpose = await sign_in.peek(link) or ""
        try:
            entered = await sign_in.with_link(link, sent["password"], door.origin, email=email, name=name)
        except BrownoutError as error:
            title, text = PURPOSES.get(purpose, DEAD_LINK)
            form = WelcomeFormPage(
                purpose=purpose, title=title, text=text, link=link, email=email, name=name, error=error.message
            )
            return door.refuse(form, error)
        return door.enter(entered, "/")

    @post("/sign-out", opt={"signed_in": True, "unfinished": ("factor", "enrol")}, status_code=200)
    async def sign_out(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> Response[Any]:
        if actor.kind == "person":
            await services.access.sessions.end(actor, actor.credential)
        return Redirect(at("/sign-in"), status_code=303, cookies=Cookies(services.settings.url).signed_out())
