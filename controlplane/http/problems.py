"""Errors → application/problem+json."""

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from controlplane.configuration.store import StaleRevisionError
from controlplane.contract.dto import ConflictOutput
from controlplane.contract.problems import PRECONDITION_FAILED, PRECONDITIONS, Problem, headers_of, problem, problem_of
from controlplane.errors import BrownoutError, Fault
from controlplane.http.parameters import sent_name
from controlplane.kit.strict_json import pointer_of

log = structlog.get_logger(__name__)

_CODES = {401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 409: "conflict",
          413: "too_large", 429: "rate_limited", 503: "unavailable"}  # fmt: skip


def problem_response(what: Problem, headers: dict[str, str] | None = None) -> Response[Problem]:
    return Response(what, status_code=what.status, media_type="application/problem+json", headers=headers)


def refused(request: Request[Any, Any, Any], error: BrownoutError) -> Response[Problem]:
    made = problem_of(error, request.url.path)
    if error.code in PRECONDITIONS and any(name in request.headers for name in ("If-Match", "If-None-Match")):
        made = msgspec.structs.replace(made, status=PRECONDITION_FAILED)
    if isinstance(error, StaleRevisionError):
        made = msgspec.structs.replace(made, conflict=ConflictOutput.of(error))
    return problem_response(made, headers_of(error))


def refused_by_framework(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    """Litestar's own refusals (routing, parameters, sizes) in our words."""
    if error.status_code >= 500 and error.status_code != 503:
        return broke(request, error)
    code = _CODES.get(error.status_code, "invalid")
    detail, faults = error.detail, parameter_faults(request, error)
    if code == "too_large":
        faults = (Fault(code, detail),)
    return problem_response(problem(code, detail, request.url.path, faults=faults), error.headers)


def broke(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    log.error("request failed", method=request.method, path=request.url.path, exc_info=error)
    return problem_response(
        problem("internal", "this is our fault; the log of the control plane has more", request.url.path)
    )


def parameter_faults(request: Request[Any, Any, Any], error: HTTPException) -> tuple[Fault, ...]:
    if not isinstance(error, ValidationException) or not isinstance(error.extra, list):
        return ()
    return tuple(
        Fault(
            "invalid_parameter",
            str(item.get("message", "")),
            pointer_of("." + sent_name(request, str(item.get("key", "")))),
        )
        for item in error.extra
        if isinstance(item, dict)
    )


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    BrownoutError: refused,
    HTTPException: refused_by_framework,
    Exception: broke,
}
