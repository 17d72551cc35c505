"""Errors of any provider in the policy's words: by body, then by status, then by the kind of exception.

No provider's package is imported: an exception is read by what it carries (`body`, `response`, `status_code`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from brownout._sync.clock import wall_s
from brownout.model.values import ErrorClass
from brownout.runner.calls import NO_HEADERS, Failed, Reason
from brownout.runner.error_bodies import EXACT, GENERIC, STATUSES, WORDS, Meaning, of_status
from brownout.runner.headers import kept_headers
from brownout.runner.rate_headers import retry_after_s

DEEPEST = 8
MOST_CODES = 16
MOST_BODY = 65_536
MOST_MESSAGE = 2_000
CODE_NAMES = ("code", "type", "status", "error_code", "Code", "__type", "reason")
INNER_NAMES = ("error", "Error", "details", "innererror", "inner_error")
KINDS: tuple[tuple[re.Pattern[str], ErrorClass], ...] = (
    (re.compile(r"contentfilter|blockedprompt|stopcandidate", re.IGNORECASE), "content_filter"),
    (re.compile(r"refusal", re.IGNORECASE), "refusal"),
    (re.compile(r"lengthfinishreason", re.IGNORECASE), "format_error"),
    (re.compile(r"timeout|timedout|deadlineexceeded", re.IGNORECASE), "timeout"),
)
"""By the names of an exception's classes, where it carries neither body nor status."""
MESSAGES: dict[ErrorClass, str] = {
    "server_error": "the provider failed",
    "overloaded": "the provider is overloaded",
    "timeout": "the provider did not answer in time",
    "rate_limited": "the provider limits the rate of requests",
    "budget_exhausted": "the account at the provider is out of quota or credit",
    "auth": "the provider refuses the key or does not know the model",
    "context_window": "the request is larger than the model's context window",
    "bad_request": "the request is invalid for the provider",
    "refusal": "the model refused",
    "content_filter": "the provider's content filter stopped the request or the answer",
    "filter_unavailable": "the provider's content filter did not run",
    "format_error": "the answer does not have the expected form",
}
"""All that a failure says. What a provider writes may repeat a prompt or a key, so none of it is kept."""


def classify(error: Exception) -> Failed:
    """Returns what `error` means to a policy. It never raises and reads a bounded part of the error.

    A cancellation is not an error: it is no `Exception`, and adapters let it pass.
    """
    causes = list(_causes(error))
    for cause in causes:
        found = cause if isinstance(cause, Failed) else _carried_failure(cause)
        if found is not None:
            return found
    names = [kind.__name__ for cause in causes for kind in type(cause).__mro__]
    for pattern, error_class in KINDS:
        if any(pattern.search(name) for name in names):
            return failed(error_class)
    return failed("server_error")


def classify_body(body: Any, *, status: int | None = None, headers: Mapping[str, str] = NO_HEADERS) -> Failed:
    """Returns what an error's body means; without a status, that of an error event inside a stream that began well."""
    try:
        meaning = _meaning(body, status)
    except Exception:  # noqa: BLE001 - a foreign mapping may raise anything
        meaning = None
    return _failed(meaning or ("overloaded", None), status, headers)


def is_filter_error(results: Any) -> bool:
    """Returns whether `content_filter_results`, in an answer of Azure, say that the filter did not run."""
    if not isinstance(results, Mapping):
        return False
    categories = list(results.values())[:MOST_CODES]
    return bool(results.get("error")) or any(isinstance(one, Mapping) and bool(one.get("error")) for one in categories)


def failed(error_class: ErrorClass, headers: Mapping[str, str] = NO_HEADERS, reason: Reason | None = None) -> Failed:
    """Returns a failure that an adapter found by itself, without an error of the provider."""
    return _failed((error_class, reason), None, headers)


def _failed(meaning: Meaning, status: int | None, headers: Mapping[str, str]) -> Failed:
    error_class, reason = meaning
    message = MESSAGES[error_class] + (f" (HTTP {status})" if status else "")
    return Failed(error_class, message, retry_after_s=retry_after_s(headers, wall_s()), headers=headers, reason=reason)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and what it groups: each once, a few at most."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting and len(seen) < DEEPEST:
        cause = waiting.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            waiting.extend(cause.exceptions[:DEEPEST])
        waiting.append(cause.__cause__)


def _carried_failure(error: BaseException) -> Failed | None:
    try:
        body, status, headers = _carried(error)
        meaning = _meaning(body, status)
    except Exception:  # noqa: BLE001 - a property of a foreign exception may raise anything
        return None
    return None if meaning is None else _failed(meaning, status, headers)


def _carried(error: BaseException) -> tuple[Any, int | None, Mapping[str, str]]:
    """The body, the status and the headers that an exception carries."""
    response = getattr(error, "response", None)
    status = _status(error) or _status(response)
    headers = getattr(response, "headers", None) or getattr(error, "headers", None)
    body = getattr(error, "body", None)
    if isinstance(response, Mapping):  # botocore: the response, parsed
        about = response.get("ResponseMetadata")
        if isinstance(about, Mapping):
            body, headers, number = response, about.get("HTTPHeaders"), about.get("HTTPStatusCode")
            status = number if isinstance(number, int) else None
    if body is None and status is not None:  # httpx and requests: only what was read already, since reading may block
        body = getattr(response, "_content", None)
    return body, status, kept_headers(headers) if headers else NO_HEADERS


def _status(carrier: Any) -> int | None:
    for name in ("status_code", "status", "code"):
        status = getattr(carrier, name, None)
        if isinstance(status, int) and 100 <= status <= 599:
            return int(status)
    return None


def _meaning(body: Any, status: int | None) -> Meaning | None:
    """What a body says, else the status; None if neither says anything. The status is None inside a stream."""
    parsed = _parsed(body)
    if not isinstance(parsed, Mapping):
        return _of_words(parsed if isinstance(parsed, str) else "") or of_status(status or 0)
    codes, message = _codes(parsed)
    precise = _of_codes(EXACT, codes) or _of_words(message) or STATUSES.get(status or 0)
    general = precise or _of_codes(GENERIC, codes) or of_status(status or 0)
    if general is not None:
        return general
    numbers = (of_status(int(code)) for code in codes if code.isdecimal())  # OpenRouter: a status as the code
    return next(filter(None, numbers), ("overloaded", None))


def _of_codes(table: Mapping[str, Meaning], codes: list[str]) -> Meaning | None:
    """The table's order decides: `content_filter` says more than `invalid_request_error` beside it."""
    meant = {table[code] for code in codes if code in table}
    return next((meaning for meaning in table.values() if meaning in meant), None) if meant else None


def _of_words(message: str) -> Meaning | None:
    return next((meaning for pattern, meaning in WORDS if pattern.search(message)), None) if message else None


def _parsed(body: Any) -> Any:
    if not isinstance(body, (bytes, bytearray, str)):
        return body
    try:
        return msgspec.json.decode(body[:MOST_BODY])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        text = body[:MOST_MESSAGE]
        return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _codes(body: Mapping[Any, Any]) -> tuple[list[str], str]:
    """The codes that stand in a body, in lower case, and its message."""
    codes: list[str] = []
    message = ""
    waiting: list[Any] = [body]
    for _ in range(DEEPEST):
        if not waiting:
            break
        part = waiting.pop(0)
        if isinstance(part, (list, tuple)):
            waiting.extend(part[:DEEPEST])
        if not isinstance(part, Mapping):
            continue
        codes.extend(filter(None, map(_code, map(part.get, CODE_NAMES))))
        words = part.get("message") or part.get("Message") or part.get("error")  # {"error": "…"}: Ollama, proxies
        if not message and isinstance(words, str):
            message = words[:MOST_MESSAGE]
        if is_filter_error(part.get("content_filter_result") or part.get("content_filter_results")):
            codes.append("content_filter_error")
        waiting.extend(part[name] for name in INNER_NAMES if name in part)
    return codes[:MOST_CODES], message


def _code(value: Any) -> str | None:
    if isinstance(value, str):
        return value[:200].lower().rpartition("#")[2]  # Bedrock: "namespace#ThrottlingException"
    return str(value) if isinstance(value, int) and 100 <= value <= 599 else None
