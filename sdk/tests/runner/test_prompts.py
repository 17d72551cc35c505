"""The policy's prompt begins every conversation, and no model is asked while one of its values is missing."""

import logging
from typing import Any

import msgspec
import pytest

from brownout.runner import Failed, Output, Runner, Text
from brownout.runner.calls import Call
from brownout.runner.outbox import MemoryOutbox
from sdk.tests.runner.served import Client, made, rung

PROMPT: dict[str, Any] = {
    "messages": [{"role": "system", "text": "You help {product}'s users."}, {"role": "user", "text": "I am {name}."}],
    "variables": ["product", "name"],
    "version": "0a1b2c3d",
}
ASKED = [{"role": "user", "content": "Refund?"}]
ANA = {"tenant": "t", "targeting_key": "u-1", "name": "Ana"}


def runner(client: Client, **parts: Any) -> tuple[Runner, list[tuple[Call, Any]]]:
    calls: list[tuple[Call, Any]] = []
    made_runner = Runner(client, **parts)

    @made_runner.calls("a")
    def ask(call: Call, *, messages: list[Any]) -> Output:
        calls.append((call, messages))
        return Output("Yes.")

    return made_runner, calls


def test_it_stands_before_the_callers_messages_with_values_of_the_context_and_the_request() -> None:
    run, calls = runner(Client(made(prompt=PROMPT)))
    reply = run.run("reply", ANA, messages=ASKED, values={"product": "Acme"})
    assert reply.text == "Yes."
    ((call, messages),) = calls
    assert messages == [
        {"role": "system", "content": "You help Acme's users."},
        {"role": "user", "content": "I am Ana."},
        *ASKED,
    ]
    assert call.prompt_version == "0a1b2c3d"


def test_without_messages_of_the_caller_it_is_the_whole_conversation() -> None:
    run, calls = runner(Client(made(prompt=PROMPT)))
    run.run("reply", ANA, values={"product": "Acme"})
    assert [message["role"] for message in calls[0][1]] == ["system", "user"]


@pytest.mark.parametrize("streams", [False, True])
def test_a_missing_value_is_a_fault_before_any_attempt(caplog: pytest.LogCaptureFixture, streams: bool) -> None:
    client = Client(made(rung("template", "Try later."), prompt=PROMPT))
    run, calls = runner(client)
    with caplog.at_level(logging.ERROR, "brownout.runner"):
        if streams:
            with run.stream("reply", ANA, messages=ASKED) as request:
                assert [event for event in request if isinstance(event, Text)] == [Text("Try later.")]
                reply = request.reply
        else:
            reply = run.run("reply", ANA, messages=ASKED)
    assert reply is not None
    assert calls == []
    assert (reply.error, reply.missing, reply.attempts) == ("bad_request", ("product",), ())
    assert (reply.rung, reply.text) == ("template", "Try later.")
    assert "reply: no value for product of the prompt" in caplog.text
    assert client.recorded[0]["error_class"] == "bad_request"


def test_without_a_rung_that_is_no_model_it_fails() -> None:
    run, calls = runner(
        Client(made(rung("model", target={"name": "spare", "provider": "a", "model": "s"}), prompt=PROMPT))
    )
    reply = run.run("reply", {}, messages=ASKED)
    assert (reply.outcome, reply.missing, calls) == ("failed", ("product", "name"), [])


def test_another_version_shares_no_cached_answer() -> None:
    def key(version: str, product: str = "Acme") -> str | None:
        run, _ = runner(Client(made(prompt={**PROMPT, "version": version})))
        given = {"messages": ASKED, "values": {"product": product}}
        return run.begin("reply", ANA, (), given, streams=False).cache_key()

    assert key("1") == key("1")
    assert len({key("1"), key("2"), key("1", "Globex")}) == 3


def test_what_is_saved_for_later_is_what_the_caller_gave() -> None:
    outbox = MemoryOutbox()
    client = Client(made(rung("later", "Saved.", not_after_s=60, on=["overloaded"]), prompt=PROMPT))
    run = Runner(client, outbox=outbox)
    run.calls("a")(_overloaded)
    assert run.run("reply", ANA, messages=ASKED, values={"product": "Acme"}).outcome == "queued"
    saved = outbox.take()
    assert saved is not None
    payload = msgspec.json.decode(saved.payload)
    assert (payload["given"], payload["values"]) == ({"messages": ASKED}, {"product": "Acme"})


def _overloaded(call: Call, *, messages: list[Any]) -> Output:
    raise Failed("overloaded")
