"""The guard under unchanged clients: what was three attempts is one, and each is admitted and observed."""

import asyncio
import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from brownout.runner import Failed
from brownout.runner.guard import GuardedRequest, async_guard, guard
from brownout.runner.watch import Observation
from sdk.tests.providers.clients import client
from sdk.tests.providers.server import Answer, Provider, error
from sdk.tests.providers.speech import APIS, USAGE, Api, Said, stream, stream_error, whole

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
every = pytest.mark.parametrize("api", APIS)
HELLO = [{"role": "user", "content": "hello"}]


@dataclass
class Target:
    """What a runner knows of one target, by hand."""

    refusal: Failed | None = None
    timeout_s: float = 20.0
    asked: list[GuardedRequest] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def admit(self, request: GuardedRequest, now: float) -> "Target | Failed":
        self.asked.append(request)
        self.times.append(now)
        return self.refusal or self

    def observe(self, seen: Observation, now: float) -> None:
        self.seen.append(seen)
        self.times.append(now)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def asks(api: Api, **more: Any) -> tuple[str, dict[str, Any]]:
    if api == "responses":
        return "responses", {"model": "m-1", "input": "hello", "max_output_tokens": 90, **more}
    limit = {"max_tokens": 90}
    path = "chat.completions" if api == "chat" else "messages"
    return path, {"model": "m-1", "messages": HELLO, **limit, **more}


def ask(
    api: Api, url: str, target: Target, *, asynchronous: bool, http: Any = None, read: int = 99, **more: Any
) -> Any:
    """One request by a client with its defaults: what it read, or the exception."""

    async def run() -> Any:
        async with client(
            api, url, asynchronous=True, http_client=async_guard(target, "support-reply", http=http)
        ) as made:
            answer = await create(made)(**arguments)
            if more.get("stream"):
                async with answer:
                    return [event async for _, event in _enumerate(answer, read)]
            return answer

    def create(made: Any) -> Any:
        for name in path.split("."):
            made = getattr(made, name)
        return made.create

    path, arguments = asks(api, **more)
    try:
        if asynchronous:
            return asyncio.run(run())
        with client(api, url, asynchronous=False, http_client=guard(target, "support-reply", http=http)) as made:
            answer = create(made)(**arguments)
            if more.get("stream"):
                with answer:
                    return [event for _, event in zip(range(read), answer, strict=False)]
            return answer
    except Exception as error:
        return error


async def _enumerate(events: Any, most: int) -> Any:
    count = 0
    async for event in events:
        yield count, event
        count += 1
        if count == most:
            return


@both
@every
def test_a_whole_answer_passes_and_is_observed(provider: Provider, api: Api, asynchronous: bool) -> None:
    target = Target()
    ask(api, provider.will(whole(api, "Hello!")).url, target, asynchronous=asynchronous)
    assert [(asked.request_class, asked.model, asked.max_output_tokens) for asked in target.asked] == [
        ("support-reply", "m-1", 90)
    ]
    assert [(seen.failed, seen.left, seen.usage) for seen in target.seen] == [(None, False, USAGE)]
    assert any("ratelimit" in name for name in target.seen[0].headers)
    assert target.times == sorted(target.times)


@both
@every
def test_a_stream_passes_and_is_observed(provider: Provider, api: Api, asynchronous: bool) -> None:
    target = Target()
    provider.will(stream(api, Said("Hello, Grace!")))
    events = ask(api, provider.url, target, asynchronous=asynchronous, stream=True)
    assert len(events) > 4
    [seen] = target.seen
    assert (seen.failed, seen.left) == (None, False)
    assert seen.first_s is not None
    assert seen.usage == USAGE


@both
@every
def test_who_stops_reading_says_nothing_of_the_target(provider: Provider, api: Api, asynchronous: bool) -> None:
    target = Target()
    provider.will(stream(api, Said("Hello, Grace!", end=None), stall_s=20))
    ask(api, provider.url, target, asynchronous=asynchronous, stream=True, read=2)
    assert [(seen.failed, seen.left) for seen in target.seen] == [(None, True)]


FAILURES = {
    "server_error": error(500, {"error": {"message": "…"}}),
    "overloaded": error(529, {"type": "error", "error": {"type": "overloaded_error", "message": "…"}}),
    "rate_limited": error(429, {"error": {"message": "…"}}, retry_after="30"),
    "budget_exhausted": error(429, {"error": {"code": "insufficient_quota", "message": "…"}}),
    "content_filter": error(400, {"error": {"code": "content_filter", "message": "…"}}),
}


@both
@every
@pytest.mark.parametrize("error_class", FAILURES)
def test_an_error_is_one_attempt(provider: Provider, api: Api, asynchronous: bool, error_class: str) -> None:
    target = Target()
    answer = FAILURES[error_class]
    raised = ask(api, provider.will(answer).url, target, asynchronous=asynchronous)
    assert (raised.status_code, raised.response.content) == (answer.status, answer.body)
    assert len(provider.asked) == 1
    assert [seen.failed.error_class for seen in target.seen if seen.failed] == [error_class]
    assert target.seen[0].failed.retry_after_s == (30.0 if error_class == "rate_limited" else None)  # type: ignore[union-attr]


@both
@every
@pytest.mark.parametrize("answer", [Answer(reset=True), Answer(stall_s=20)], ids=["reset", "silence"])
def test_a_broken_connection_is_one_attempt(provider: Provider, api: Api, asynchronous: bool, answer: Answer) -> None:
    target = Target(timeout_s=0.3 if answer.stall_s else 20.0)
    raised = ask(api, provider.will(answer).url, target, asynchronous=asynchronous)
    assert (raised.status_code, len(provider.asked)) == (504, 1)
    expected = "timeout" if answer.stall_s else "server_error"
    assert [seen.failed.error_class for seen in target.seen if seen.failed] == [expected]


def test_without_a_guard_it_is_three(provider: Provider) -> None:
    provider.will(error(500, {"error": {"message": "…"}}, retry_after_ms="1"))
    with client("chat", provider.url, asynchronous=False) as made, contextlib.suppress(Exception):
        made.chat.completions.create(**asks("chat")[1])
    assert len(provider.asked) == 3


@both
@every
def test_a_closed_target_is_not_asked(provider: Provider, api: Api, asynchronous: bool) -> None:
    target = Target(refusal=Failed("overloaded", "the breaker of the target is open"))
    raised = ask(api, provider.will(whole(api, "Hello!")).url, target, asynchronous=asynchronous)
    assert raised.status_code == 503
    assert "the breaker of the target is open" in str(raised)
    assert (provider.asked, target.seen, len(target.asked)) == ([], [], 1)


@both
@every
def test_an_error_inside_a_stream_is_observed(provider: Provider, api: Api, asynchronous: bool) -> None:
    target = Target()
    spoken = stream(api, Said("The refund", end=None)).chunks or ()
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "code": "overloaded", "message": "…"}}
    provider.will(Answer(chunks=(*spoken, stream_error(api, overloaded))))
    ask(api, provider.url, target, asynchronous=asynchronous, stream=True)
    assert [seen.failed.error_class for seen in target.seen if seen.failed] == ["overloaded"]


@both
@every
def test_keep_alives_do_not_outlive_the_attempt(provider: Provider, api: Api, asynchronous: bool) -> None:
    target = Target(timeout_s=0.3)
    provider.will(Answer(chunks=(), keep_alives=200))
    raised = ask(api, provider.url, target, asynchronous=asynchronous, stream=True)
    assert isinstance(raised, Exception)
    assert [(seen.failed.error_class, seen.first_s) for seen in target.seen if seen.failed] == [("timeout", None)]


@both
@pytest.mark.parametrize("flavour", ["httpx", "httpx2"])
def test_both_flavours_guard(provider: Provider, flavour: str, asynchronous: bool) -> None:
    target = Target()
    provider.will(error(500, {"error": {"message": "…"}}), whole("chat", "Hello!"))
    http = importlib.import_module(flavour)
    raised = ask("chat", provider.url, target, asynchronous=asynchronous, http=http)
    assert raised.status_code == 500
    answer = ask("chat", provider.url, target, asynchronous=asynchronous, http=http)
    assert answer.choices[0].message.content == "Hello!"
    assert [seen.failed is None for seen in target.seen] == [False, True]


def test_a_request_to_no_model_is_none_of_its_business(provider: Provider) -> None:
    target = Target()
    provider.will(Answer(body=b"{}"))
    with guard(target, "support-reply") as made:
        assert made.post(f"{provider.url}/v1/files", json={"purpose": "batch"}).status_code == 200
    assert target.asked == []
