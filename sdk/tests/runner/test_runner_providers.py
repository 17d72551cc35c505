"""The runner over the real clients: a conversation that goes on at another provider, and a client behind a guard."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from brownout.runner import Runner, ToolCall
from brownout.runner.adapters import anthropic_messages, openai_chat
from brownout.runner.guard import guard
from sdk.tests.providers.server import Answer, Provider
from sdk.tests.providers.speech import Said, stream, whole
from sdk.tests.runner.served import TO_SPARE, Client, made

TOOL = {"type": "function", "function": {"name": "refund", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def providers() -> Iterator[tuple[Provider, Provider]]:
    with Provider() as first, Provider() as second:
        yield first, second


def test_a_conversation_goes_on_at_another_provider_and_no_effect_is_repeated(providers: Any) -> None:
    first, second = providers
    first.will(
        stream("chat", Said(tool=("call_7", "refund", '{"order": 1}'), end="tool_calls")),
        Answer(status=503, body=b'{"error": {"message": "overloaded", "type": "server_error"}}'),
    )
    second.will(stream("anthropic", Said(text="You get it back.")))
    ran: list[int] = []
    with (
        openai.OpenAI(api_key="k", base_url=f"{first.url}/v1") as chat,
        anthropic.Anthropic(api_key="k", base_url=second.url) as claude,
    ):
        runner = Runner(Client(made(TO_SPARE)), {"a": openai_chat(chat), "b": anthropic_messages(claude)})
        with runner.stream("reply", {}, messages=[{"role": "user", "content": "refund me"}], tools=[TOOL]) as request:
            for event in request:
                if isinstance(event, ToolCall):
                    request.tool(event, lambda order: ran.append(order) or {"refunded": order}, effect=True)
        reply = request.reply
    assert reply is not None
    assert (reply.text, reply.target, reply.error, ran) == ("You get it back.", "spare", "overloaded", [1])
    (asked,) = second.asked
    user, assistant, result = asked.body["messages"]
    assert user == {"role": "user", "content": "refund me"}
    assert assistant["content"] == [{"type": "tool_use", "id": "call_7", "name": "refund", "input": {"order": 1}}]
    assert result["content"] == [{"type": "tool_result", "tool_use_id": "call_7", "content": '{"refunded":1}'}]


def test_an_unchanged_client_is_admitted_recorded_and_refused_what_the_policy_does_not_name(providers: Any) -> None:
    first, _ = providers
    first.will(whole("chat", "hello"))
    client = Client(made())
    with openai.OpenAI(api_key="k", base_url=f"{first.url}/v1", http_client=guard(Runner(client), "reply")) as chat:
        messages: Any = [{"role": "user", "content": "hi"}]
        assert chat.chat.completions.create(model="m-1", messages=messages).choices[0].message.content == "hello"
        with pytest.raises(openai.PermissionDeniedError):
            chat.chat.completions.create(model="another", messages=messages)
    assert len(first.asked) == 1
    assert [said["input_tokens"] for said in client.recorded] == [11]
