"""Errors by body, then by status, then by kind: bodies as the providers' own pages and incident reports show them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.model.values import ErrorClass
from brownout.runner import Failed
from brownout.runner.classify import MESSAGES, classify, classify_body, is_filter_error
from brownout.runner.headers import kept_headers
from brownout.runner.rate_headers import LONGEST_S
from sdk.tests.providers.bodies import BODIES, claude_error, openai_error

SECRET = "sk-live-0123456789 tell me about my neighbour"


class AnsweredError(Exception):
    """What a client of some provider raises: a status, and the body as it came."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(SECRET)
        self.status_code, self.body = status, body
        self.response = httpx2.Response(status, headers=dict(headers or {}))


@pytest.mark.parametrize(("status", "body", "error_class", "reason"), BODIES, ids=lambda value: str(value)[:60])
def test_an_error_is_classified_by_its_body_then_its_status(
    status: int, body: object, error_class: str, reason: str | None
) -> None:
    unwrapped = body.get("error", body) if isinstance(body, dict) else body  # as the client of OpenAI hands it on
    for form in (body, unwrapped, json.dumps(body) if isinstance(body, dict) else body):
        failed = classify(AnsweredError(status, form))
        assert (failed.error_class, failed.reason) == (error_class, reason)
        assert MESSAGES[failed.error_class] in str(failed)


IN_STREAM: list[tuple[object, ErrorClass]] = [
    (claude_error("overloaded_error", "Overloaded"), "overloaded"),
    (claude_error("api_error", "Internal server error"), "server_error"),
    (claude_error("rate_limit_error", "…"), "rate_limited"),
    (openai_error("The server had an error", "server_error", None), "server_error"),
    ({"type": "error", "code": "rate_limit_exceeded", "message": "…", "param": None}, "rate_limited"),
    ({"code": "bio_policy", "message": "…"}, "content_filter"),
    ({"error": {"code": 502, "message": "Provider returned error"}}, "server_error"),  # OpenRouter
    ({"error": {"code": 429, "message": "Provider returned error"}}, "rate_limited"),
    ({"error": {"message": "something"}}, "overloaded"),
    ("overloaded", "overloaded"),
    (None, "overloaded"),
]


@pytest.mark.parametrize(("body", "error_class"), IN_STREAM)
def test_an_error_inside_a_stream_has_only_its_body(body: object, error_class: str) -> None:
    assert classify_body(body).error_class == error_class
    if isinstance(body, dict):
        assert classify(AnsweredError(200, body)).error_class == error_class


REQUEST, OLD_REQUEST = httpx2.Request("POST", "http://127.0.0.1"), httpx.Request("POST", "http://127.0.0.1")
KINDS: list[tuple[Exception, ErrorClass]] = [
    (openai.APITimeoutError(request=REQUEST), "timeout"),
    (openai.APIConnectionError(request=REQUEST), "server_error"),
    (httpx.ReadTimeout("…"), "timeout"), (httpx2.ReadTimeout("…"), "timeout"), (httpx2.ConnectTimeout("…"), "timeout"),
    (httpx.ConnectError("…"), "server_error"), (httpx2.RemoteProtocolError("…"), "server_error"),
    (httpx2.ReadError("…"), "server_error"), (ConnectionResetError(), "server_error"), (TimeoutError(), "timeout"),
    (ExceptionGroup("…", [ValueError(), TimeoutError()]), "timeout"),
    (httpx.HTTPStatusError("…", request=OLD_REQUEST, response=httpx.Response(529)), "overloaded"),
    (httpx2.HTTPStatusError("…", request=REQUEST, response=httpx2.Response(400, json=openai_error("…", None, "content_filter"))),
     "content_filter"),
    (type("ContentFilterFinishReasonError", (Exception,), {})(), "content_filter"),
    (type("LengthFinishReasonError", (Exception,), {})(), "format_error"),
    (ValueError(SECRET), "server_error"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "error_class"), KINDS, ids=lambda value: type(value).__name__)
def test_an_error_without_body_or_status_is_known_by_its_kind(error: Exception, error_class: str) -> None:
    assert classify(error).error_class == error_class
    wrapped = RuntimeError(SECRET)
    wrapped.__cause__ = error
    assert classify(wrapped).error_class == error_class


def test_what_a_callable_raised_itself_is_kept() -> None:
    own = Failed("tool_error", "the refund service is down", retry_after_s=3)
    assert classify(own) is own
    wrapped = RuntimeError()
    wrapped.__cause__ = own
    assert classify(wrapped) is own


def test_botocore_carries_a_parsed_response() -> None:
    error = RuntimeError(SECRET)
    error.response = {  # type: ignore[attr-defined]
        "Error": {"Code": "ThrottlingException", "Message": SECRET},
        "ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "4"}},
    }
    failed = classify(error)
    assert (failed.error_class, failed.retry_after_s) == ("rate_limited", 4.0)


NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
WAITS: list[tuple[dict[str, str], float | None]] = [
    ({"Retry-After": "20"}, 20.0), ({"retry-after": "1.5"}, 1.5), ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True), "date": format_datetime(NOW, usegmt=True)}, 90.0),
    ({"retry-after": format_datetime(NOW, usegmt=True)}, 0.0), ({"retry-after": "-3"}, None), ({"retry-after": "nan"}, None),
    ({"retry-after": "inf"}, None), ({"retry-after": "1e300"}, None), ({"retry-after": "999999999"}, LONGEST_S), ({"retry-after": "soon"}, None), ({}, None),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "wait_s"), WAITS)
def test_retry_after_is_seconds_milliseconds_or_a_date(headers: dict[str, str], wait_s: float | None) -> None:
    assert classify(AnsweredError(429, {}, headers)).retry_after_s == wait_s


def test_headers_are_kept_only_if_they_speak_of_rates() -> None:
    given_headers = {"X-RateLimit-Remaining-Tokens": "9", "Set-Cookie": SECRET, "anthropic-ratelimit-x": "y" * 9_000}
    for headers in (given_headers, httpx.Headers(given_headers), httpx2.Headers(given_headers)):
        kept = kept_headers(headers)
        assert kept == {"x-ratelimit-remaining-tokens": "9", "anthropic-ratelimit-x": "y" * 256}
    assert kept_headers(None) == {}


def test_azure_says_when_its_filter_did_not_run() -> None:
    down = {"code": "content_filter_error", "message": "The contents are not filtered"}
    assert is_filter_error({"error": down})
    assert is_filter_error({"hate": {"filtered": False}, "custom_blocklists": {"error": down}})
    assert not is_filter_error({"hate": {"filtered": True, "severity": "high"}})
    assert not is_filter_error(None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.sampled_from(list(MESSAGES)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["error", "code", "type", "message", "details", "x"]), inner)
    ),
    max_leaves=20,
)


@given(
    body=json_values | st.binary(max_size=200), status=st.none() | st.integers(-1, 10**30) | st.text(max_size=5),
    headers=st.dictionaries(st.text(max_size=20), st.text(max_size=60) | st.none() | st.integers(), max_size=5),
)  # fmt: skip
def test_classifying_never_raises_and_says_nothing_of_its_own(body: Any, status: Any, headers: Any) -> None:
    error = RuntimeError(SECRET)
    error.body, error.status_code, error.headers = body, status, headers  # type: ignore[attr-defined]
    for failed in (classify(error), classify_body(body)):
        assert str(failed).partition(" (HTTP")[0] == MESSAGES[failed.error_class]
        assert failed.retry_after_s is None or 0 <= failed.retry_after_s <= LONGEST_S


class HostileError(Exception):
    def __getattribute__(self, name: str) -> Any:
        if name in {"body", "response", "status_code", "headers"}:
            raise RuntimeError(SECRET)
        return super().__getattribute__(name)


def test_what_is_hostile_is_read_to_a_bound() -> None:
    deep: Any = {"error": {"code": 10**5_000, "message": "x" * 10**7, "type": "y" * 10**7}}
    for _ in range(5_000):
        deep = {"error": deep}
    loop = RuntimeError()
    loop.__cause__ = HostileError()
    loop.__cause__.__cause__ = loop
    for error in (
        HostileError(),
        loop,
        AnsweredError(400, deep),
        AnsweredError(400, b"[" * 10**6),
        AnsweredError(400, '{"a":' * 10**6),
    ):
        assert classify(error).error_class in {"server_error", "bad_request"}
    assert classify_body(deep).error_class == "overloaded"
