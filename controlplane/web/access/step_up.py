"""Asking for what a request lacks: a fresh proof, in place; or the second factor, by going there first."""

from typing import Any, ClassVar
from urllib.parse import quote

import msgspec
from litestar import Request, Response
from litestar.response import Redirect

from controlplane.access.actor import Actor
from controlplane.access.csrf import FIELD, SAFE_METHODS
from controlplane.contract.problems import status_of
from controlplane.errors import StepUpRequiredError
from controlplane.http.root import at
from controlplane.http.step_up import FIELDS, PROOF_FIELDS
from controlplane.services import Services
from controlplane.web.kit.render import Templates, View


class Sent(msgspec.Struct, frozen=True):
    """One field of the form that was refused."""

    name: str
    value: str


class StepUpPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "access/step_up.html"

    action: str
    fields: tuple[Sent, ...]
    csrf: str
    proofs: tuple[str, ...]
    error: str
    sso_href: str
    back: str


def ask_for_proof(request: Request[Any, Any, Any], error: StepUpRequiredError) -> Response[Any]:
    """The form that was refused, with one field more; it goes where it was going."""
    templates: Templates = request.app.state.templates
    services: Services = request.app.state.services
    actor: Actor = request.state["actor"]
    sent = request.state.get(FIELDS, [])
    own = tuple(Sent(name, value) for name, value in sent if name not in PROOF_FIELDS and name != FIELD)
    wrong = bool(error.__cause__)
    query = f"?{request.url.query}" if request.url.query else ""
    back = request.headers.get("referer", at("/"))
    sso = at("/auth/oidc/start?then=/account/proven&fresh=true") if services.sso is not None else ""
    page = StepUpPage(
        action=at(request.url.path) + query,
        fields=own,
        csrf=services.access.csrf.token(actor.credential),
        proofs=error.proofs,
        error=error.message if wrong else "",
        sso_href=sso if "sso" in error.proofs else "",
        back=back if back.startswith(("/", str(request.base_url))) else at("/"),
    )
    return templates.response(page, status_of(error))


def finish_sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    """To the page where what is missing is shown or set up, and back afterwards."""
    actor: Actor = request.state["actor"]
    wanted = request.url.path if request.method in SAFE_METHODS else "/"
    target = f"/sign-in/second-factor?next={quote(wanted, safe='/')}" if actor.stage == "factor" else "/account"
    if request.headers.get("hx-request") == "true":
        return Response("", status_code=403, headers={"HX-Redirect": at(target)})
    return Redirect(at(target), status_code=303)
