"""Sixteen ways in which a provider fails, over the real clients: each is classified, after one request."""

from collections.abc import Iterator
from typing import Any

import pytest

from brownout.model.values import ErrorClass
from brownout.runner import Output
from sdk.tests.providers.bodies import claude_error, openai_error
from sdk.tests.providers.clients import attempt, call
from sdk.tests.providers.server import Answer, Provider, error
from sdk.tests.providers.speech import APIS, Api, Said, stream, stream_error


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def body(api: Api, kind: str, code: str | None, message: str = "…") -> dict[str, Any]:
    """An error as the API words it: Anthropic has a type, OpenAI a code too."""
    return claude_error(kind, message) if api == "anthropic" else openai_error(message, kind, code)


def began(api: Api, **how: Any) -> Answer:
    return stream(api, Said("The refund", end=None), **how)


def in_stream(api: Api, kind: str, code: str | None) -> Answer:
    spoken = began(api).chunks or ()
    return Answer(chunks=(*spoken, stream_error(api, body(api, kind, code))))


def scenarios(api: Api) -> dict[str, tuple[Answer, ErrorClass | None]]:
    claude = api == "anthropic"
    overloaded = "overloaded_error" if claude else "server_overloaded"
    quota = (
        ("rate_limit_error", None, "Your credit balance is too low") if claude else ("insufficient_quota", None, "…")
    )
    long = "prompt is too long: 9 tokens > 8 maximum" if claude else "This model's maximum context length is 8 tokens"
    filtered = "Output blocked by content filtering policy" if claude else "…content management policy"
    refused = Said(end="refusal") if claude else Said(refusal="I cannot help with that.")
    return {
        "server error": (error(500, body(api, "api_error" if claude else "server_error", None)), "server_error"),
        "bad gateway with a page": (Answer(502, b"<html>bad gateway</html>"), "server_error"),
        "overloaded": (error(529 if claude else 503, body(api, overloaded, overloaded)), "overloaded"),
        "gateway timeout": (Answer(504, b""), "timeout"),
        "rate limited": (error(429, body(api, "rate_limit_error", "rate_limit_exceeded"), retry_after="30"), "rate_limited"),
        "out of quota": (error(429, body(api, *quota)), "budget_exhausted"),
        "key refused": (error(401, body(api, "authentication_error", "invalid_api_key")), "auth"),
        "model unknown": (error(404, body(api, "not_found_error", "model_not_found")), "auth"),
        "prompt too long": (error(400, body(api, "invalid_request_error", None, long)), "context_window"),
        "filtered": (error(400, body(api, "invalid_request_error", None, filtered)), "content_filter"),
        "connection reset": (Answer(reset=True), "server_error"),
        "no answer at all": (Answer(stall_s=20), "timeout"),
        "keep-alives only": (Answer(chunks=(), keep_alives=100), "timeout"),
        "error inside the stream": (in_stream(api, overloaded, overloaded), "overloaded"),
        "stream cut off": (began(api, cut=True), "server_error"),
        "refusal with status 200": (stream(api, refused), None),
    }  # fmt: skip


NAMES = tuple(scenarios("chat"))
IMPATIENT = {"no answer at all", "keep-alives only"}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("name", NAMES)
def test_a_provider_fails(provider: Provider, name: str, api: Api, asynchronous: bool) -> None:
    answer, error_class = scenarios(api)[name]
    provider.will(answer)
    of = call(timeout_s=0.3 if name in IMPATIENT else 20.0)
    yielded, raised = attempt(api, provider.url, asynchronous=asynchronous, of=of)
    assert len(provider.asked) == 1
    if error_class is None:
        assert raised is None
        assert [piece.finish for piece in yielded] == ["refusal"]
        return
    assert raised.error_class == error_class
    assert not any(isinstance(piece, Output) for piece in yielded)
    assert raised.retry_after_s == (30.0 if name == "rate limited" else None)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("api", APIS)
def test_a_stream_that_ends_before_its_answer_did_not_succeed(provider: Provider, api: Api, asynchronous: bool) -> None:
    for answer in (began(api), began(api, reset=True)):
        yielded, raised = attempt(api, provider.will(answer).url, asynchronous=asynchronous)
        assert raised.error_class == "server_error"
        assert not any(isinstance(piece, Output) for piece in yielded)


@pytest.mark.parametrize("api", APIS)
def test_a_stalled_stream_is_a_timeout(provider: Provider, api: Api) -> None:
    for asynchronous in (False, True):
        provider.will(began(api, stall_s=20))
        for timeout_s in (0.4, 5.0):  # a busy machine may not even get the beginning in the first
            yielded, raised = attempt(api, provider.url, asynchronous=asynchronous, of=call(timeout_s=timeout_s))
            assert raised.error_class == "timeout"
            if yielded:
                break
        assert yielded


@pytest.mark.parametrize("api", APIS)
def test_too_steep_a_ramp_is_told_from_a_limit(provider: Provider, api: Api) -> None:
    provider.will(error(429, body(api, "rate_limit_error", "slow_down", "acceleration limits")))
    _, raised = attempt(api, provider.url, asynchronous=False)
    assert (raised.error_class, raised.reason, raised.retry_after_s) == ("rate_limited", "ramp", None)


@pytest.mark.parametrize("end", ["server_error", "rate_limit_exceeded", "bio_policy"])
def test_a_response_that_failed_says_why(provider: Provider, end: str) -> None:
    provider.will(stream("responses", Said("So", end=end)))
    _, raised = attempt("responses", provider.url, asynchronous=False)
    meanings = {"server_error": "server_error", "rate_limit_exceeded": "rate_limited", "bio_policy": "content_filter"}
    assert raised.error_class == meanings[end]
