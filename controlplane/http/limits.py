"""What a request may be, checked before anybody reads it."""

import asyncio
import re
from typing import Any

from litestar import Request, Response
from litestar.exceptions import ClientException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

from controlplane.contract.problems import Problem, problem
from controlplane.errors import Fault, InvalidInputError, NotFoundError, TooLargeError
from controlplane.http.parameters import MAX_NUMBER, is_text, text_faults
from controlplane.http.problems import problem_response
from controlplane.kit.strict_json import check_json, read_struct

MAX_HEADER_BYTES = 32_768
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Of a commit or an import; other bodies are bounded by `max_body_bytes` of the settings."""

MAX_PUBLIC_BYTES = 8_192
"""Of a body that anyone may send: a sign-in, a one-time link."""
MAX_QUERY_FIELDS = 100

MAX_MEMBERS = 10_000
"""Of a JSON body: values in objects and arrays, counted before any is made."""
MAX_DOCUMENT_MEMBERS = 1_000_000
"""The same for the routes whose body may be MAX_DOCUMENT_BYTES."""

LARGE = 50_000
"""Bytes whose checking would hold up other requests."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class LimitHeaders(ASGIMiddleware):
    """Refuses header sections that no honest client sends, and addresses that Postgres cannot hold."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if sum(len(name) + len(value) for name, value in scope.get("headers", ())) > MAX_HEADER_BYTES:
            refusal = problem("too_large", f"the headers are larger than {MAX_HEADER_BYTES} bytes", status=431)
        elif scope.get("query_string", b"").count(b"&") >= MAX_QUERY_FIELDS:
            refusal = problem("too_large", f"the address holds more than {MAX_QUERY_FIELDS} parameters", status=414)
        elif not is_text(scope.get("raw_path", b"")):
            refusal = problem("invalid", "the address holds a NUL or is not UTF-8")
        elif faults := text_faults(scope.get("query_string", b"")):
            refusal = problem("invalid", f"{faults[0].pointer[1:]} is {faults[0].message}", faults=faults)
        else:
            await next_app(scope, receive, send)
            return
        await _refuse(refusal, scope, receive, send)


class LimitBodies(ASGIMiddleware):
    """Refuses a body by its announced size before anything else is done, and stops one that grows beyond it.

    It stands before authentication: who sends too much is told so without being asked who they are.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        headers = dict(scope.get("headers", ()))
        limit = body_limit(scope["route_handler"])
        announced = headers.get(b"content-length", b"0")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            refusal = problem("invalid", "send the body as it is: compressed bodies are not read", status=415)
        elif not announced.isdigit():
            refusal = problem("invalid", "Content-Length is not a number", status=400)
        elif len(announced) > len(str(MAX_DOCUMENT_BYTES)) or int(announced) > limit:
            refusal = problem("too_large", _too_large(limit), faults=(Fault("too_large", _too_large(limit)),))
        else:
            await next_app(scope, _Bounded(receive, limit), send)
            return
        await _refuse(refusal, scope, receive, send)


class _Bounded:
    """`receive` of one request."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._left = limit
        self._complete = False

    async def __call__(self) -> HTTPReceiveMessage:
        message: HTTPReceiveMessage = await self._receive()  # type: ignore[assignment]
        if message["type"] == "http.request":
            self._left -= len(message["body"])
            self._complete = not message.get("more_body", False)
            if self._left < 0:
                raise TooLargeError(_too_large(self._limit), (Fault("too_large", _too_large(self._limit)),))
        elif not self._complete:  # Litestar would report a bug of ours
            raise ClientException("the client went away before its request was complete")
        return message


def body_limit(handler: Any) -> int:
    """Bytes of a request's body that a route takes."""
    declared: int = handler.resolve_request_max_body_size() or 0
    return min(declared, MAX_PUBLIC_BYTES) if handler.opt.get("public") else declared


def members(raw: bytes) -> int:
    """How many values a JSON text holds at most: its commas and opening brackets outside of strings."""
    rough = raw.count(b",") + raw.count(b"{") + raw.count(b"[")
    if rough <= MAX_MEMBERS:
        return rough
    bare = _STRING.sub(b"", raw)
    return bare.count(b",") + bare.count(b"{") + bare.count(b"[")


def _too_large(limit: int) -> str:
    return f"the body is larger than {limit:,} bytes"


async def _refuse(refusal: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    response: Response[Any] = problem_response(refusal)
    await response.to_asgi_response(None, Request(scope))(scope, receive, send)


async def check_body(request: Request[Any, Any, Any]) -> None:
    """`before_request`: a number in the path fits Postgres's, and a JSON body is strict JSON, whatever its handler does with it.

    Raises:
        NotFoundError: the number is beyond any there can be.
        TooLargeError: more values than any such body has.
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
    most = MAX_DOCUMENT_MEMBERS if body_limit(request.route_handler) >= MAX_DOCUMENT_BYTES else MAX_MEMBERS
    if len(body) > most and members(body) > most:
        what = f"the body holds more than {most:,} values"
        raise TooLargeError(what, (Fault("too_large", what),))
    if len(body) > LARGE:
        faults = await asyncio.to_thread(check_json, body)
    else:
        faults = check_json(body) if body else ()
    if faults:
        raise InvalidInputError(faults[0].message, faults)
    if data is not None:
        read_struct(body, data.annotation)
