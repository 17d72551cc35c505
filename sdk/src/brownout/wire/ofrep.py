"""The OpenFeature Remote Evaluation Protocol (OFREP 0.3): our decisions in its words.

https://github.com/open-feature/protocol/blob/main/service/openapi.yaml
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from brownout.evaluation.decision import Decision, ErrorCode
from brownout.model.faults import InvalidResource
from brownout.model.strict_json import read

MAX_BODY_BYTES = 256 * 1024
"""A context is a user's attributes, not a document."""

Metadata = Mapping[str, bool | int | float | str]


class Success(msgspec.Struct, frozen=True):
    key: str
    value: Any
    reason: str
    variant: str | None
    metadata: Metadata


class Failure(msgspec.Struct, frozen=True, rename="camel"):
    key: str
    error_code: str
    error_details: str


class BulkSuccess(msgspec.Struct, frozen=True):
    flags: tuple[Success | Failure, ...]
    metadata: Metadata


class BulkFailure(msgspec.Struct, frozen=True, rename="camel"):
    error_code: str
    error_details: str


class RequestError(Exception):
    """The body is not an evaluation request; `code` is OpenFeature's."""

    def __init__(self, code: ErrorCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def parse_context(body: bytes) -> dict[str, Any]:
    """The evaluation context, its `targetingKey` under our name.

    Raises:
        RequestError: PARSE_ERROR for what is not strict JSON, INVALID_CONTEXT for what is not a context.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RequestError(ErrorCode.INVALID_CONTEXT, f"the request is larger than {MAX_BODY_BYTES:,} bytes")
    try:
        request = read(body)
    except InvalidResource as error:
        fault = error.faults[0]
        raise RequestError(ErrorCode.PARSE_ERROR, f"{fault.pointer or 'the body'}: {fault.message}") from None
    context = request.get("context") if isinstance(request, dict) else None
    if not isinstance(context, dict):
        raise RequestError(ErrorCode.INVALID_CONTEXT, "the body is an object whose `context` is an object")
    if "targetingKey" in context:
        if not isinstance(context["targetingKey"], str):
            raise RequestError(ErrorCode.INVALID_CONTEXT, "`targetingKey` is a string")
        context["targeting_key"] = context.pop("targetingKey")
    return context


def answer(decision: Decision[object]) -> Success | Failure:
    """One decision; a value that only the caller knows (an error's) is left to the caller."""
    code = decision.error_code
    if code is not None and decision.metadata.get("excluded"):
        details = (
            f"safe mode {decision.metadata['safe_mode']} excludes every target of {decision.flag}: use your default"
        )
        return Failure(decision.flag, code.value, details)
    if code is not None:
        return Failure(decision.flag, code.value, _DETAILS.get(code, "{} could not be evaluated").format(decision.flag))
    metadata: dict[str, bool | int | float | str] = {**decision.metadata, "revision": decision.revision}
    if decision.rule is not None:
        metadata["rule"] = decision.rule
    return Success(decision.flag, decision.value, decision.reason.value, decision.variant, metadata)


def answer_all(environment: str, revision: int, decisions: Iterable[Decision[object]]) -> BulkSuccess:
    return BulkSuccess(tuple(map(answer, decisions)), {"environment": environment, "revision": revision})


def etag(decisions: Iterable[Decision[object]]) -> str:
    """Changes when what a caller would see changes, and not with every revision."""
    seen = [(d.flag, d.value, d.variant, d.reason.value, d.error_code, d.metadata) for d in decisions]
    return '"' + hashlib.sha256(msgspec.json.encode(seen, order="sorted")).hexdigest()[:32] + '"'


STATUS = {ErrorCode.FLAG_NOT_FOUND.value: 404, ErrorCode.PROVIDER_NOT_READY.value: 503}
"""HTTP statuses of failures; others are 400."""

_DETAILS = {
    ErrorCode.FLAG_NOT_FOUND: "flag {} was not found",
    ErrorCode.INVALID_CONTEXT: "the context has a value that {} cannot be decided on",
}
