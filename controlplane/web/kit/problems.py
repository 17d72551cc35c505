"""Errors as people see them: what happened, whether anything was saved, what to do."""

from typing import Any, ClassVar
from urllib.parse import quote

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.response import Redirect
from litestar.types import ExceptionHandlersMap

from controlplane.contract.problems import OUTCOMES, headers_of, status_of
from controlplane.errors import (
    BrownoutError,
    Fault,
    SecondFactorRequiredError,
    SignInAgainError,
    StepUpRequiredError,
    UnauthenticatedError,
)
from controlplane.http import problems as api_problems
from controlplane.http.guard import pass_of
from controlplane.http.root import at
from controlplane.services import Services
from controlplane.web.access.step_up import ask_for_proof, finish_sign_in
from controlplane.web.kit.framing import url
from controlplane.web.kit.render import Templates, View

log = structlog.get_logger(__name__)


class ProblemPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "kit/problem.html"

    title: str
    detail: str
    advice: str
    faults: tuple[Fault, ...]
    back: str
    emergency: str
    """Where safe mode can be switched while the database is away; empty if it cannot."""


ADVICE = {
    401: "Sign in, then try again.",
    403: "Ask an administrator of the environment for the role that you need.",
    404: "It may have been deleted: its history is still there.",
    409: "Look at what changed meanwhile, then try again.",
    429: "Wait a moment, then try again.",
    503: "Services keep deciding with what they have. Try again in a moment.",
}


def refused(request: Request[Any, Any, Any], error: BrownoutError) -> Response[Any]:
    if isinstance(error, StepUpRequiredError) and error.proofs:
        return ask_for_proof(request, error)
    if isinstance(error, SecondFactorRequiredError):
        return finish_sign_in(request)
    if isinstance(error, UnauthenticatedError) and request.method == "GET":
        return _to_sign_in(request, silently=isinstance(error, SignInAgainError))
    title, detail = OUTCOMES[error.code].title, error.message
    if isinstance(error, UnauthenticatedError):  # the API's words are about tokens
        title, detail = "You are signed out", "Your session has ended, here or from another browser."
    page = _page(request, status_of(error), title, detail, error.faults)
    page.headers.update(headers_of(error))
    return page


def _to_sign_in(request: Request[Any, Any, Any], *, silently: bool) -> Response[Any]:
    """Whoever is nobody yet signs in, and goes on to where they were going; htmx is told to load the whole page.
    `silently`: the identity provider may know them still, and need not ask."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.headers.get("hx-request") == "true":
        return Response("", status_code=401, headers={"HX-Redirect": at("/sign-in")})
    if silently:
        return Redirect(at(f"/auth/oidc/start?silent=true&then={quote(wanted, safe='/')}"), status_code=303)
    target = "/sign-in" if wanted == "/" else f"/sign-in?next={quote(wanted, safe='/')}"
    return Redirect(at(target), status_code=303)


def refused_by_framework(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if error.status_code >= 500:
        return broke(request, error)
    if error.status_code == 404:
        return _page(request, 404, "Not found", f"There is nothing at {at(request.url.path)}.")
    faults = api_problems.parameter_faults(request, error)
    detail = "The address holds a value that does not belong there." if faults else error.detail
    return _page(request, error.status_code, "Not understood", detail, faults)


def refused_before_routing(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Where no route answers: a page for a browser that asks for one, problem+json for everybody else."""
    if request.url.path.startswith(("/api", "/ofrep")) or "text/html" not in request.headers.get("accept", ""):
        return api_problems.refused_by_framework(request, error)
    return refused_by_framework(request, error)


def broke(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    log.error("page failed", method=request.method, path=request.url.path, exc_info=error)
    return _page(request, 500, "Internal error", "This is our fault; the log of the control plane says more.")


def _page(
    request: Request[Any, Any, Any], status: int, title: str, detail: str, faults: tuple[Fault, ...] = ()
) -> Response[Any]:
    templates: Templates = request.app.state.templates
    saved = "" if request.method in {"GET", "HEAD"} else "Nothing was saved. "
    back = request.headers.get("referer", at("/"))
    page = ProblemPage(
        title=title,
        detail=detail,
        advice=saved + ADVICE.get(status, ""),
        faults=faults,
        emergency=_emergency(request) if status == 503 else "",
        back=back if back.startswith(("/", str(request.base_url))) else at("/"),
    )
    return templates.response(page, status)


def _emergency(request: Request[Any, Any, Any]) -> str:
    """The page that needs no database, for the environment that the request was about."""
    services: Services = request.app.state.services
    environment = str(request.path_params.get("environment", "production"))
    if not services.emergency.can_act() or not pass_of(request, services):
        return ""
    return url(environment, "safe-mode", "emergency")


HTML_EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    BrownoutError: refused,
    HTTPException: refused_by_framework,
    Exception: broke,
}

EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    **api_problems.EXCEPTION_HANDLERS,
    HTTPException: refused_before_routing,
}
"""The whole application's; the console's router has those above."""
