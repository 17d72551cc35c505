"""Signing in and out, and the one-time links of first-run setup, invitations and resets."""

from typing import Any, ClassVar
from urllib.parse import quote

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Redirect

from controlplane.access.actor import Actor
from controlplane.access.csrf import safe_path
from controlplane.access.sessions import SignedIn
from controlplane.api.cookies import Cookies
from controlplane.api.guard import check_origin
from controlplane.api.session import origin_of
from controlplane.errors import BrownoutError
from controlplane.services import Services
from controlplane.web.render import Templates, View

SSO_ERRORS = {
    "unavailable": "The identity provider does not answer. Try again, or use your password.",
    "refused": "The identity provider did not let you in, or you are not known here.",
}
PURPOSES = {
    "setup": ("Set up Brownout", "You will be its first administrator."),
    "invite": ("Welcome to Brownout", "Choose a password, and you are in."),
    "reset": ("Choose a new password", "Your other sessions end."),
}


class SignInPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "pages/sign_in.html"

    email: str
    error: str
    next: str
    sso_href: str
    """Where the identity provider is asked; empty when there is none."""


class WelcomePage(View, frozen=True, kw_only=True):
    """The link's secret is in the address's fragment, which only a script can read; it then asks for the form."""

    template: ClassVar[str] = "pages/welcome.html"


class WelcomeForm(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "partials/welcome_form.html"

    purpose: str
    title: str
    text: str
    link: str
    email: str
    name: str
    error: str


class WelcomeFormPage(WelcomeForm, frozen=True, kw_only=True):
    """The same form as a whole page: what was typed did not do."""

    template: ClassVar[str] = "pages/welcome_form.html"


class SignInController(Controller):
    include_in_schema = False

    @get("/sign-in", opt={"public": True})
    async def show_sign_in(
        self,
        services: NamedDependency[Services],
        templates: NamedDependency[Templates],
        *,
        next: FromQuery[str] = "/",  # noqa: A002 - the name in the address
        sso: FromQuery[str] = "",
    ) -> Response[Any]:
        return templates.response(_sign_in_page(services, safe_path(next), error=SSO_ERRORS.get(sso, "")))

    @post("/sign-in", opt={"public": True}, status_code=200)
    async def sign_in(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        templates: NamedDependency[Templates],
    ) -> Response[Any]:
        check_origin(request, services)
        form = await request.form()
        email, onward = str(form.get("email", "")), safe_path(str(form.get("next", "/")))
        try:
            entered = await services.access.sign_in.with_password(
                email, str(form.get("password", "")), origin_of(request, services)
            )
        except BrownoutError as error:
            page = _sign_in_page(services, onward, error=error.message, email=email)
            return templates.response(page, error.status)
        return _enter(services, entered, onward)

    @get("/welcome", opt={"public": True})
    async def welcome(self, templates: NamedDependency[Templates]) -> Response[Any]:
        return templates.response(WelcomePage())

    @post("/welcome/form", opt={"public": True}, status_code=200)
    async def welcome_form(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        templates: NamedDependency[Templates],
    ) -> Response[Any]:
        """The form that fits the link."""
        check_origin(request, services)
        link = str((await request.form()).get("link", ""))
        purpose = await services.access.sign_in.peek(link) or ""
        title, text = PURPOSES.get(purpose, ("This link does not work any more", "Ask for another one."))
        return templates.response(
            WelcomeForm(purpose=purpose, title=title, text=text, link=link, email="", name="", error="")
        )

    @post("/welcome", opt={"public": True}, status_code=200)
    async def use_link(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        templates: NamedDependency[Templates],
    ) -> Response[Any]:
        check_origin(request, services)
        sent = await request.form()
        link, email, name = (str(sent.get(field, "")) for field in ("link", "email", "name"))
        purpose = await services.access.sign_in.peek(link) or ""
        try:
            entered = await services.access.sign_in.with_link(
                link, str(sent.get("password", "")), origin_of(request, services), email=email, name=name
            )
        except BrownoutError as error:
            title, text = PURPOSES.get(purpose, ("This link does not work any more", ""))
            form = WelcomeFormPage(
                purpose=purpose, title=title, text=text, link=link, email=email, name=name, error=error.message
            )
            return templates.response(form, error.status)
        return _enter(services, entered, "/")

    @post("/sign-out", opt={"signed_in": True}, status_code=200)
    async def sign_out(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> Response[Any]:
        if actor.kind == "person":
            await services.access.sessions.end(actor, actor.credential)
        return Redirect("/sign-in", status_code=303, cookies=Cookies(services.settings.url).signed_out())


def _sign_in_page(services: Services, onward: str, *, error: str, email: str = "") -> SignInPage:
    sso = f"/auth/oidc/start?then={quote(onward, safe='/')}" if services.sso is not None else ""
    return SignInPage(email=email, error=error, next=onward, sso_href=sso)


def _enter(services: Services, entered: SignedIn, onward: str) -> Redirect:
    return Redirect(onward, status_code=303, cookies=Cookies(services.settings.url).signed_in(entered))
