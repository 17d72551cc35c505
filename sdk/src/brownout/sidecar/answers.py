"""What the sidecar answers: a request in, an answer out, all from the client's memory."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

import msgspec

from brownout.client import Brownout
from brownout.evaluation.decision import Decision, ErrorCode
from brownout.model.faults import InvalidResource
from brownout.model.strict_json import read
from brownout.telemetry.posted import RecordInput
from brownout.wire import ofrep

FLAGS = "/ofrep/v1/evaluate/flags"
METHODS = {"/policy": "POST", "/record": "POST", FLAGS: "POST", "/healthz": "GET", "/changes": "GET"}

_T = TypeVar("_T")


class PolicyInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sidecar's own service applies; the control plane's `service`, `revision` and `at` are not known here."""

    request_class: str
    context: dict[str, Any] = {}


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class RefusedError(Exception):
    """The request is refused, with this HTTP status and the API's word for it."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code

    @property
    def answer(self) -> Answer:
        problem = {
            "status": self.status,
            "code": self.code,
            "title": HTTPStatus(self.status).phrase,
            "detail": str(self),
        }
        return Answer(self.status, json.dumps(problem).encode(), ((b"content-type", b"application/problem+json"),))


def route(method: str, path: str) -> str:
    """The known path that `path` belongs to. Raises RefusedError."""
    found = FLAGS if path.startswith(FLAGS + "/") else path
    if found not in METHODS:
        raise RefusedError(404, "not_found", f"there is nothing at {path[:200]}")
    if method != METHODS[found]:
        raise RefusedError(405, "method_not_allowed", f"use {METHODS[found]}")
    return found


def answer(client: Brownout, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Raises RefusedError."""
    match route(METHODS.get(path, "POST"), path):
        case "/policy":
            return _policy(client, _input(body, PolicyInput))
        case "/record":
            told = _input(body, RecordInput)
            client.record(told.policy.policy(), **told.said())
            return Answer(204)
        case "/healthz":
            return health(client)
    return _flags(client, path.removeprefix(FLAGS).strip("/"), headers.get("if-none-match", ""), body)


def health(client: Brownout) -> Answer:
    """200 once a verified configuration is held, however old it is."""
    status = client.status
    return _json(status, 200 if status.configured else 503)


def _policy(client: Brownout, asked: PolicyInput) -> Answer:
    policy = client.policy(asked.request_class, asked.context)
    if policy.error_code is ErrorCode.PROVIDER_NOT_READY:
        raise RefusedError(503, "unavailable", "no configuration is held yet")
    if policy.error_code is ErrorCode.FLAG_NOT_FOUND:
        raise RefusedError(404, "not_found", f"there is no request class {asked.request_class[:200]}")
    return _json(policy)


def _flags(client: Brownout, key: str, known: str, body: bytes) -> Answer:
    if not client.status.configured:
        return _failure(key, ErrorCode.PROVIDER_NOT_READY, "no configuration is held yet")
    try:
        context = ofrep.parse_context(body)
    except ofrep.RequestError as error:
        return _failure(key, error.code, error.details)
    if key:
        found = ofrep.answer(client.decide(key, context))
        return _json(found, ofrep.STATUS.get(found.error_code, 400) if isinstance(found, ofrep.Failure) else 200)
    held = client.held
    decisions: list[Decision[Any]] = [client.decide(flag, context) for flag in held.flags]
    tag = ofrep.etag(decisions)
    headers = ((b"etag", tag.encode()), (b"cache-control", b"private, no-cache"))
    if tag in {each.strip().removeprefix("W/") for each in known.split(",")}:
        return Answer(304, headers=headers)
    whole = ofrep.answer_all(client.status.environment, held.revision, decisions)
    return _json(whole)._replace(headers=((b"content-type", b"application/json"), *headers))


def _failure(key: str, code: ErrorCode, details: str) -> Answer:
    failure = ofrep.Failure(key, code.value, details) if key else ofrep.BulkFailure(code.value, details)
    return _json(failure, ofrep.STATUS.get(code.value, 400))


def _input(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(read(body), kind)
    except InvalidResource as error:
        raise RefusedError(422, "invalid", error.faults[0].message) from None
    except msgspec.ValidationError as error:
        raise RefusedError(422, "invalid", str(error)) from None


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode(value), ((b"content-type", b"application/json"),))
