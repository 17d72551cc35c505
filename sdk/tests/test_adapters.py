"""The adapters over the real clients: what is content, how an answer ends, and what each request says."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from brownout.model.values import ToolPolicy
from brownout.runner import Failed, Output, Text, ToolCall
from sdk.tests.providers.clients import ADAPTERS, attempt, call, client
from sdk.tests.providers.server import Answer, Provider, error, event
from sdk.tests.providers.speech import APIS, USAGE, Api, Said, chat_chunk, stream

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
every = pytest.mark.parametrize("api", APIS)
LIMIT_ENDS: dict[Api, str] = {"chat": "length", "responses": "max_output_tokens", "anthropic": "max_tokens"}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def text_of(yielded: list[Any]) -> str:
    return "".join(piece.text for piece in yielded if isinstance(piece, Text))


@both
@every
def test_an_answer_arrives_in_pieces_and_then_whole(provider: Provider, api: Api, asynchronous: bool) -> None:
    provider.will(stream(api, Said("Hello, Grace!")))
    yielded, raised = attempt(api, provider.url, asynchronous=asynchronous)
    assert raised is None
    *pieces, output = yielded
    assert [type(piece) for piece in pieces] == [Text] * 4  # neither roles nor keep-alives
    assert text_of(pieces) == "Hello, Grace!"
    name = "anthropic-ratelimit-tokens-remaining" if api == "anthropic" else "x-ratelimit-remaining-tokens"
    kept = {name: output.headers[name], "date": output.headers["date"]}
    assert output == Output("Hello, Grace!", usage=USAGE, finish="stop", headers=kept)


@both
@every
def test_a_tool_call_comes_whole_with_its_arguments(provider: Provider, api: Api, asynchronous: bool) -> None:
    end = "tool_use" if api == "anthropic" else "stop"
    provider.will(stream(api, Said("One moment.", tool=("c1", "refund", '{"amount": 5}'), end=end)))
    yielded, raised = attempt(api, provider.url, asynchronous=asynchronous)
    wanted = ToolCall("refund", {"amount": 5}, "c1")
    assert raised is None
    assert [piece for piece in yielded if isinstance(piece, ToolCall)] == [wanted]
    assert (yielded[-1].finish, yielded[-1].tools) == ("tool_calls", (wanted,))


@both
@every
@pytest.mark.parametrize("arguments", ['{"amount": ', "[1]", "five"])
def test_arguments_that_are_no_json_object_are_a_format_error(
    provider: Provider, api: Api, asynchronous: bool, arguments: str
) -> None:
    provider.will(stream(api, Said(tool=("c1", "refund", arguments))))
    _, raised = attempt(api, provider.url, asynchronous=asynchronous)
    assert raised.error_class == "format_error"


@both
@every
def test_half_a_tool_call_of_a_truncated_answer_is_not_one(provider: Provider, api: Api, asynchronous: bool) -> None:
    provider.will(stream(api, Said(tool=("c1", "refund", '{"amount": '), end=LIMIT_ENDS[api])))
    yielded, raised = attempt(api, provider.url, asynchronous=asynchronous)
    assert raised is None
    assert [(type(piece), piece.finish) for piece in yielded] == [(Output, "length")]


REFUSALS: list[tuple[Api, Said]] = [
    ("chat", Said(refusal="I cannot help with that.")),
    ("responses", Said(refusal="I cannot help with that.")),
    ("anthropic", Said(end="refusal")),
]


@both
@pytest.mark.parametrize(("api", "said"), REFUSALS)
def test_a_refusal_is_an_answer_that_says_so(provider: Provider, api: Api, said: Said, asynchronous: bool) -> None:
    provider.will(stream(api, said))
    yielded, raised = attempt(api, provider.url, asynchronous=asynchronous)
    assert raised is None
    assert [(type(piece), piece.finish, piece.text, piece.usage) for piece in yielded] == [
        (Output, "refusal", said.refusal, USAGE)
    ]


@both
@every
def test_a_refused_or_filtered_answer_runs_no_tool(provider: Provider, api: Api, asynchronous: bool) -> None:
    end = "refusal" if api == "anthropic" else "content_filter"
    provider.will(stream(api, Said("Well,", tool=("c1", "refund", "{}"), end=end)))
    yielded, raised = attempt(api, provider.url, asynchronous=asynchronous)
    assert raised is None
    assert yielded[-1].finish == end
    if api != "responses":  # there a call is whole, and yielded, before the answer ends
        assert yielded[-1].tools == ()


@both
@every
def test_an_empty_answer_has_no_content(provider: Provider, api: Api, asynchronous: bool) -> None:
    provider.will(stream(api, Said()))
    yielded, raised = attempt(api, provider.url, asynchronous=asynchronous)
    assert raised is None
    assert [(piece.text, piece.finish) for piece in yielded] == [("", "stop")]


FILTER_DOWN = {"error": {"code": "content_filter_error", "message": "The contents are not filtered"}}
UNFILTERED = [
    chat_chunk({"content": "unfiltered"}, content_filter_results=FILTER_DOWN),
    event({"id": "", "model": "", "created": 0, "object": "", "choices": [],
           "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": FILTER_DOWN}]}),
]  # fmt: skip


@both
@pytest.mark.parametrize("chunk", UNFILTERED, ids=["answer", "prompt"])
def test_what_azure_did_not_filter_is_held_back(provider: Provider, chunk: bytes, asynchronous: bool) -> None:
    provider.will(Answer(chunks=(chunk, chat_chunk({"content": "more"}, "stop"))))
    yielded, raised = attempt("chat", provider.url, asynchronous=asynchronous)
    assert (yielded, raised.error_class) == ([], "filter_unavailable")


@pytest.mark.parametrize("reason", ["SAFETY", "content_filter: PROHIBITED_CONTENT", "sensitive"])
def test_a_filter_is_one_whatever_its_name(provider: Provider, reason: str) -> None:
    provider.will(stream("chat", Said("So", end=reason)))
    yielded, _ = attempt("chat", provider.url, asynchronous=False)
    assert yielded[-1].finish == "content_filter"


SEARCH = {"name": "search", "description": "Searches.", "parameters": {"type": "object", "properties": {"q": {}}}}
REFUND = {"name": "refund", "input_schema": {"type": "object", "properties": {}}}
TRANSCRIPT = [
    {"role": "user", "content": "refund order 7"},
    {"role": "assistant", "content": "Looking.", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": 7}'}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "found"},
]  # fmt: skip
ASKED: dict[Api, dict[str, Any]] = {
    "chat": {
        "messages": [{"role": "system", "content": "Be kind."}, *TRANSCRIPT, {"role": "user", "content": "JSON, please"}],
        "tools": [{"type": "function", "function": SEARCH}],
        "temperature": 0.2, "reasoning_effort": "low", "seed": 3, "max_completion_tokens": 90,
        "stream_options": {"include_usage": True},
    },
    "responses": {
        "instructions": "Be kind.",
        "input": [
            TRANSCRIPT[0], {"role": "assistant", "content": "Looking."},
            {"type": "function_call", "call_id": "c1", "name": "search", "arguments": '{"q": 7}'},
            {"type": "function_call_output", "call_id": "c1", "output": "found"},
            {"role": "user", "content": "JSON, please"},
        ],
        "tools": [{"type": "function", **SEARCH}],
        "temperature": 0.2, "reasoning": {"effort": "low"}, "max_output_tokens": 90,
    },
    "anthropic": {
        "system": "Be kind.",
        "messages": [
            TRANSCRIPT[0],
            {"role": "assistant", "content": [
                {"type": "text", "text": "Looking."}, {"type": "tool_use", "id": "c1", "name": "search", "input": {"q": 7}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "found"}]},
            {"role": "user", "content": "JSON, please"},
        ],
        "tools": [{"name": "search", "description": "Searches.", "input_schema": SEARCH["parameters"]}],
        "output_config": {"effort": "low"}, "max_tokens": 90,
    },
}  # fmt: skip


@both
@every
def test_a_request_says_what_the_policy_says(provider: Provider, api: Api, asynchronous: bool) -> None:
    provider.will(stream(api, Said("ok")))
    params = {"temperature": 0.2, "top_p": None, "seed": 3, "reasoning_effort": "low", "max_output_tokens": 90}
    of = call(
        params=params, max_output_tokens=400, tools=ToolPolicy(include=("search", "refund"), exclude=("REFUND",)),
        feedback="JSON, please",
    )  # fmt: skip
    _, raised = attempt(
        api, provider.url, asynchronous=asynchronous, of=of, system="Be kind.", messages=TRANSCRIPT,
        tools=[{"type": "function", "function": SEARCH}, REFUND], metadata={"user_id": "u-1"}, **({} if api == "anthropic" else {"temperature": 1.5}),
    )  # fmt: skip
    assert raised is None
    expected = {"model": "m-1", "stream": True, "metadata": {"user_id": "u-1"}, **ASKED[api]}
    assert [asked.body for asked in provider.asked] == [expected]


@every
def test_the_callers_own_limit_holds_if_it_is_the_stricter(provider: Provider, api: Api) -> None:
    provider.will(stream(api, Said("ok")))
    field = {"chat": "max_tokens", "responses": "max_output_tokens", "anthropic": "max_tokens"}[api]
    options = {"output_limit": "max_tokens", "usage": False} if api == "chat" else {}
    attempt(api, provider.url, asynchronous=False, of=call(max_output_tokens=90), adapter=options, **{field: 5})
    assert provider.asked[0].body[field] == 5
    assert "stream_options" not in provider.asked[0].body


@every
def test_a_tool_that_is_excluded_cannot_be_forced(provider: Provider, api: Api) -> None:
    provider.will(stream(api, Said("ok")))
    choice = (
        {"type": "function", "function": {"name": "refund"}} if api == "chat" else {"type": "tool", "name": "refund"}
    )
    for tools in ([REFUND], [REFUND, {"type": "function", "function": SEARCH}]):
        policy = ToolPolicy(exclude=("refund",))
        attempt(api, provider.url, asynchronous=False, of=call(tools=policy), tools=tools, tool_choice=choice)
    assert [("tools" in asked.body, "tool_choice" in asked.body) for asked in provider.asked] == [
        (False, False),
        (True, False),
    ]


@both
@every
def test_one_attempt_is_one_request(provider: Provider, api: Api, asynchronous: bool) -> None:
    provider.will(error(500, {"error": {"message": "…"}}, retry_after="0"))
    _, raised = attempt(api, provider.url, asynchronous=asynchronous)
    assert (raised.error_class, len(provider.asked)) == ("server_error", 1)


@both
@every
def test_what_a_client_does_not_take_is_for_another_target(provider: Provider, api: Api, asynchronous: bool) -> None:
    provider.will(stream(api, Said("ok")))
    _, raised = attempt(api, provider.url, asynchronous=asynchronous, no_such_argument=1)
    assert (raised.error_class, raised.reason, provider.asked) == ("bad_request", "unsupported", [])


@every
def test_a_cancelled_attempt_is_no_failure_and_closes_its_stream(provider: Provider, api: Api) -> None:
    async def cancel() -> None:
        provider.will(stream(api, Said("Hello", end=None), stall_s=20))
        async with client(api, provider.url, asynchronous=True) as made:
            pieces = ADAPTERS[api](made)(call(), messages=[{"role": "user", "content": "hello"}])
            assert await anext(pieces) == Text("Hell")
            reading = asyncio.create_task(_drain(pieces))
            await asyncio.sleep(0.05)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await pieces.aclose()

    asyncio.run(cancel())


async def _drain(pieces: Any) -> None:
    async for _ in pieces:
        pass


@every
def test_a_synchronous_stream_may_be_left_early(provider: Provider, api: Api) -> None:
    provider.will(stream(api, Said("Hello", end=None), stall_s=20))
    with client(api, provider.url, asynchronous=False) as made:
        pieces = ADAPTERS[api](made)(call(), messages=[{"role": "user", "content": "hello"}])
        assert next(pieces) == Text("Hell")
        pieces.close()


def test_failures_keep_their_cause(provider: Provider) -> None:
    provider.will(error(429, {"error": {"code": "insufficient_quota"}}))
    _, raised = attempt("chat", provider.url, asynchronous=False)
    assert isinstance(raised, Failed)
    assert type(raised.__cause__).__name__ == "RateLimitError"
