"""What a request may be, checked before anybody reads it."""

import asyncio
from typing import Any

from litestar import Request, Response
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from controlplane.api.parameters import MAX_NUMBER, is_text, text_faults
from controlplane.api.problems import problem_response
from controlplane.errors import InvalidInputError, NotFoundError
from controlplane.problems import problem
from controlplane.strict_json import check_json, read_struct

MAX_HEADER_BYTES = 32_768
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Of a commit or an import; other bodies are bounded by `max_body_bytes` of the settings."""

LARGE = 200_000
"""Bytes whose checking would hold up other requests."""


class LimitHeaders(ASGIMiddleware):
    """Refuses header sections that no honest client sends, and addresses that Postgres cannot hold."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if sum(len(name) + len(value) for name, value in scope.get("headers", ())) > MAX_HEADER_BYTES:
            refusal = problem("too_large", f"the headers are larger than {MAX_HEADER_BYTES} bytes", status=431)
        elif not is_text(scope.get("raw_path", b"")):
            refusal = problem("invalid", "the address holds a NUL or is not UTF-8")
        elif faults := text_faults(scope.get("query_string", b"")):
            refusal = problem("invalid", f"{faults[0].pointer[1:]} is {faults[0].message}", faults=faults)
        else:
            await next_app(scope, receive, send)
            return
        response: Response[Any] = problem_response(refusal)
        await response.to_asgi_response(None, Request(scope))(scope, receive, send)


async def check_body(request: Request[Any, Any, Any]) -> None:
    """`before_request`: a number in the path fits Postgres's, and a JSON body is strict JSON, whatever its handler does with it.

    Raises:
        NotFoundError: the number is beyond any there can be.
        InvalidInputError: duplicate keys, NaN, too deep, not JSON at all, or not what the handler takes: Litestar reads
            bodies as leniently as queries, where `"60"` is a number.
    """
    if any(isinstance(value, int) and abs(value) > MAX_NUMBER for value in request.path_params.values()):
        raise NotFoundError("there is no such number here")
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    kind = request.headers.get("content-type", "")
    data = request.route_handler.parsed_fn_signature.parameters.get("data")
    read_as_json = request.route_handler.opt.get("body") is not None and "yaml" not in kind  # whatever it says it is
    if "json" not in kind and not read_as_json and data is None:
        return
    body = await request.body()
    if len(body) > LARGE:
        faults = await asyncio.to_thread(check_json, body)
    else:
        faults = check_json(body) if body else ()
    if faults:
        raise InvalidInputError(faults[0].message, faults)
    if data is not None:
        read_struct(body, data.annotation)
