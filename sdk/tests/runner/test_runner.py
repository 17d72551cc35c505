"""What a service sees of its runner: replies, events, rungs, tools and approvals."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from brownout.runner import (
    AsyncRunner,
    Call,
    Evidence,
    Failed,
    MemoryPeople,
    Notice,
    Output,
    Reset,
    Runner,
    SqliteEffects,
    Text,
    ToolCall,
    Withdrawn,
)
from brownout.runner.cache import MemoryCache
from brownout.runner.outbox import MemoryOutbox
from sdk.tests.runner.served import MAIN, TO_SPARE, Client, made, rung
from sdk.tests.runner.virtual import VirtualLoop, run

ANA, BOB = {"tenant": "t", "targeting_key": "ana"}, {"tenant": "t", "targeting_key": "bob"}


def play(client: Client, work: Callable[[AsyncRunner], Coroutine[Any, Any, Any]], **parts: Any) -> Any:
    async def on(loop: VirtualLoop) -> Any:
        return await work(AsyncRunner(client, now=loop.time, chance=lambda: 0.5, **parts))

    return run(on)


def fails(error: Any, **more: Any) -> Callable[..., Any]:
    async def ask(call: Call, *_: Any, **__: Any) -> Output:
        raise Failed(error, **more)

    return ask


def says(text: str) -> Callable[..., Any]:
    async def ask(call: Call, *_: Any, **__: Any) -> Output:
        return Output(text, (10, 3))

    return ask


def test_a_healthy_answer_is_the_models_own() -> None:
    client = Client(made(TO_SPARE))
    asked: list[Any] = []

    async def work(runner: AsyncRunner) -> Any:
        @runner.calls("a")
        async def ask(call: Call, question: str, *, tone: str) -> Output:
            asked.append((call.target, call.model, question, tone))
            return Output("hello", (12, 4))

        return await runner.run("reply", ANA, "hi?", tone="warm")

    reply = play(client, work)
    assert asked == [("main", "m-1", "hi?", "warm")]
    assert (reply.text, reply.rung, reply.target, reply.outcome) == ("hello", "model", "main", "answered")
    assert (reply.degraded, reply.provisional, reply.notice, reply.error) == (False, False, None, None)
    assert [(attempt.target, attempt.error, attempt.usage) for attempt in reply.attempts] == [("main", None, (12, 4))]
    (recorded,) = client.recorded
    assert (recorded["input_tokens"], recorded["output_tokens"], recorded["completed"]) == (12, 4, True)
    assert "rung" not in recorded
    assert "error_class" not in recorded


def test_a_fallback_is_said_in_the_reply_and_in_the_record() -> None:
    client = Client(made(TO_SPARE, notices={"*": "Busy, {name}.", "auth": "Odd."}))
    reply = play(
        client,
        lambda runner: runner.run("reply", ANA, "hi", values={"name": "Ana"}),
        calls={"a": fails("overloaded"), "b": says("hi")},
    )
    assert (reply.text, reply.target, reply.error, reply.notice) == ("hi", "spare", "overloaded", "Busy, Ana.")
    assert reply.degraded
    assert (client.recorded[0]["rung"], client.recorded[0]["error_class"]) == ("model", "overloaded")


def test_a_callable_raises_what_its_client_raises() -> None:
    class RateLimitError(Exception):
        status_code = 429

        def __init__(self) -> None:
            self.body = {"error": {"code": "insufficient_quota"}}

    async def ask(call: Call) -> Output:
        raise RateLimitError

    reply = play(Client(made()), lambda runner: runner.run("reply", ANA), calls={"a": ask})
    assert (reply.outcome, reply.error, reply.text) == ("failed", "budget_exhausted", "")


def test_the_cache_serves_the_same_person_the_same_question_and_says_of_when_it_is() -> None:
    client = Client(made(rung("cache", max_age_s=60)))
    broken = False

    async def ask(call: Call, question: str) -> Output:
        if broken:
            raise Failed("overloaded")
        return Output("fresh")

    async def work(runner: AsyncRunner) -> Any:
        nonlocal broken
        await runner.run("reply", ANA, "a question ")
        broken = True
        same = await runner.run("reply", ANA, "a question")
        others = [await runner.run("reply", BOB, "a question"), await runner.run("reply", {**ANA, "tenant": "u"}, "a question"),
                  await runner.run("reply", {"targeting_key": "ana"}, "a question"), await runner.run("reply", ANA, "another")]  # fmt: skip
        client.set_policy("reply", made(rung("cache", max_age_s=60), cache_epoch=1))
        return same, [*others, await runner.run("reply", ANA, "a question")]

    wall = [1_000.0]
    same, others = play(client, work, calls={"a": ask}, cache=MemoryCache(now=lambda: wall[0]), wall_s=lambda: wall[0])
    assert (same.text, same.rung, same.provisional, same.as_of.timestamp()) == ("fresh", "cache", True, 1_000.0)
    assert [reply.outcome for reply in others] == ["failed"] * 5


@pytest.mark.parametrize("answer", [Output("no", finish="refusal"), Output("half", finish="length"), Output("bad")])
def test_what_is_no_full_answer_is_not_cached(answer: Output) -> None:
    client, cache = Client(made(rung("cache"))), MemoryCache()

    async def ask(call: Call) -> Output:
        return answer

    play(
        client,
        lambda runner: runner.run("reply", ANA, validate=lambda text: text != "bad"),
        calls={"a": ask},
        cache=cache,
    )
    assert len(cache) == 0


def test_sources_come_first_and_are_the_reply_if_no_model_answers() -> None:
    client = Client(made(rung("evidence", "Read this:\n{sources}", template="sources", max_sources=2)))

    async def work(runner: AsyncRunner) -> Any:
        async with runner.stream("reply", ANA, evidence=["one", "two", "three"]) as request:
            return [event async for event in request], request.reply

    events, reply = play(client, work, calls={"a": fails("timeout")})
    assert events == [Evidence(("one", "two", "three")), Text("Read this:\none\ntwo")]
    assert (reply.rung, reply.provisional, reply.sources) == ("evidence", True, ("one", "two", "three"))
    assert client.recorded[0]["retrieval_hit"] is True


def test_a_template_without_a_value_is_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    sorry = rung("template", "Sorry {name}.", template="sorry", on=["timeout"])
    client = Client(made(sorry, rung("template", "Sorry.", template="plain")))
    with caplog.at_level("ERROR", "brownout.runner"):
        reply = play(client, lambda runner: runner.run("reply", ANA), calls={"a": fails("timeout")})
        named = play(client, lambda runner: runner.run("reply", ANA | {"name": "Ana"}), calls={"a": fails("timeout")})
    assert (reply.text, named.text) == ("Sorry.", "Sorry Ana.")
    assert "name" in caplog.text


def test_a_request_is_saved_for_later() -> None:
    client, outbox = Client(made(rung("later", "We saved it.", template="saved", not_after_s=60))), MemoryOutbox()
    reply = play(
        client, lambda runner: runner.run("reply", ANA, "q", request_id="r-1"), calls={"a": fails("overloaded")},
        outbox=outbox,
    )  # fmt: skip
    assert (reply.outcome, reply.text, reply.rung, reply.ticket) == ("queued", "We saved it.", "later", "r-1")
    saved = outbox.take()
    assert saved is not None
    assert (saved.key, b'"q"' in saved.payload) == ("r-1", True)


def test_a_person_gets_the_request_its_reason_and_what_was_said() -> None:
    client, people = (
        Client(made(rung("human_review", queue="tier-2"), terminal={"refusal": "human_review"})),
        MemoryPeople(),
    )

    async def ask(call: Call, question: str) -> Output:
        return Output("I cannot", finish="refusal")

    reply = play(client, lambda runner: runner.run("reply", ANA, "q"), calls={"a": ask}, people=people)
    (ticket,) = people.tickets
    assert (ticket.queue, ticket.reason, ticket.text, ticket.arguments) == ("tier-2", "refusal", "I cannot", ("q",))
    assert (reply.outcome, reply.rung, reply.ticket, reply.text) == ("queued", "human_review", ticket.id, "")
    assert client.recorded[0]["escalated"]
    assert client.recorded[0]["refused"]


def test_a_rung_that_breaks_does_not_break_the_request() -> None:
    class Broken:
        blocks = False

        def get(self, _: str) -> Any:
            raise ConnectionError

        put = get

    client = Client(made(rung("cache"), rung("template", "Sorry.", template="sorry")))
    reply = play(client, lambda runner: runner.run("reply", ANA), calls={"a": fails("timeout")}, cache=Broken())
    assert reply.text == "Sorry."


def test_the_validators_words_reach_the_next_attempt() -> None:
    client = Client(made(retry={"max_attempts": 2}))
    heard: list[str | None] = []

    async def ask(call: Call) -> Output:
        heard.append(call.feedback)
        return Output("{}" if call.feedback else "{")

    def is_json(text: str) -> str | None:
        return None if text == "{}" else "close the brace"

    reply = play(client, lambda runner: runner.run("reply", ANA, validate=is_json), calls={"a": ask})
    assert (reply.text, heard) == ("{}", [None, "close the brace"])
    assert [attempt.error for attempt in reply.attempts] == ["format_error", None]


def test_a_prompt_over_the_limit_is_trimmed_or_refused_never_sent() -> None:
    client = Client(made(budget={"per_request": {"max_input_tokens": 100}}))
    sent: list[int] = []

    async def ask(call: Call, *, text: str) -> Output:
        sent.append(len(text))
        return Output("ok")

    refused = play(client, lambda runner: runner.run("reply", ANA, text="x" * 10_000), calls={"a": ask})
    assert (refused.outcome, refused.error, sent) == ("stopped", "budget_exhausted", [])

    def trim(given: dict[str, Any], tokens: int) -> dict[str, Any]:
        return {**given, "text": given["text"][: tokens * 3]}

    reply = play(client, lambda runner: runner.run("reply", ANA, text="x" * 10_000, trim=trim), calls={"a": ask})
    assert (reply.text, sent) == ("ok", [300])


def test_a_stream_delivers_as_it_arrives_and_says_when_it_breaks() -> None:
    client = Client(made(TO_SPARE, notices={"*": "Cut off."}))

    async def ask(call: Call) -> AsyncIterator[Text]:
        yield Text("one ")
        yield Text("two")
        raise Failed("server_error")

    async def work(runner: AsyncRunner) -> Any:
        async with runner.stream("reply", ANA) as request:
            return [event async for event in request], request.reply

    events, reply = play(client, work, calls={"a": ask, "b": says("never")})
    assert events == [Text("one "), Text("two"), Notice("Cut off.")]
    assert (reply.outcome, reply.text, reply.incomplete, reply.provisional) == ("surfaced", "one two", True, True)
    whole = play(client, lambda runner: runner.run("reply", ANA), calls={"a": ask, "b": says("whole")})
    assert (whole.text, whole.target) == ("whole", "spare")


def test_a_switch_and_a_refusal_are_never_silent() -> None:
    async def breaks(call: Call) -> AsyncIterator[Text]:
        yield Text("one")
        raise Failed("timeout")

    async def refuses(call: Call) -> AsyncIterator[Any]:
        yield Text("how to ")
        yield Output("how to", finish="content_filter")

    async def work(runner: AsyncRunner) -> Any:
        async with runner.stream("reply", ANA, resets=True) as request:
            return [event async for event in request], request.reply

    events, _ = play(Client(made(TO_SPARE, on_break="restart")), work, calls={"a": breaks, "b": says("all")})
    assert events == [Text("one"), Reset(), Text("all")]
    events, reply = play(Client(made(TO_SPARE)), work, calls={"a": refuses, "b": says("leak")})
    assert events == [Text("how to "), Withdrawn()]
    assert (reply.outcome, reply.text, reply.error) == ("stopped", "", "content_filter")


def test_silence_is_a_timeout_and_keep_alives_are_not_content() -> None:
    slow = MAIN | {"first_token_ms": 1_000, "stall_ms": 500}
    closed: list[str] = []

    async def keeps_alive(call: Call) -> AsyncIterator[Text]:
        try:
            while True:
                await asyncio.sleep(0.1)
                yield Text("")
        finally:
            closed.append(call.target)

    async def stalls(call: Call) -> AsyncIterator[Text]:
        yield Text("one")
        await asyncio.sleep(60)

    async def work(runner: AsyncRunner) -> Any:
        began = runner.now()
        reply = await runner.run("reply", ANA)
        await asyncio.sleep(0)
        return reply, runner.now() - began

    for ask, took in ((keeps_alive, 1.0), (stalls, 0.5)):
        reply, seconds = play(Client(made(TO_SPARE, model=slow)), work, calls={"a": ask, "b": says("hi")})
        assert (reply.text, reply.error, reply.attempts[0].error) == ("hi", "timeout", "timeout")
        assert seconds == pytest.approx(took)
    assert closed == ["main"]


def test_nothing_outlives_the_deadline_not_even_what_ignores_cancellation() -> None:
    async def stubborn(call: Call) -> Output:
        for _ in range(3):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue
        return Output("late")

    async def work(runner: AsyncRunner) -> Any:
        reply = await runner.run("reply", ANA)
        return reply, runner.now()

    reply, ended = play(Client(made(deadline_ms=2_000)), work, calls={"a": stubborn})
    assert (reply.outcome, reply.error, ended) == ("failed", "timeout", pytest.approx(2.0))


def test_who_cancels_is_let_go_and_counted_as_no_error() -> None:
    client = Client(made(TO_SPARE))

    async def ask(call: Call) -> Output:
        await asyncio.sleep(5)
        return Output("late")

    async def work(runner: AsyncRunner) -> Any:
        task = asyncio.ensure_future(runner.run("reply", ANA))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with runner.stream("reply", ANA) as request:
            pass
        return request.reply, runner

    _, runner = play(client, work, calls={"a": ask})
    (recorded,) = client.recorded
    assert recorded["abandoned"]
    assert not recorded.keys() & {"error_class", "rung", "answered_by", "completed", "shed", "stopped"}
    assert all(target.limiter.in_flight == 0 for target in runner.health._targets.values())


# Tools


def agent(call: Call, *_: Any) -> Iterator[Any]:
    """Asks for a refund, then says what came of it."""
    if not call.turns:
        yield ToolCall("refund", {"order": 1}, "m-1")
        yield Output("", finish="tool_calls", tools=(ToolCall("refund", {"order": 1}, "m-1"),))
    else:
        yield Output(f"done: {call.turns[-1].results[0]}")


def read(runner: Runner, function: Callable[..., Any], **more: Any) -> Any:
    with runner.stream("reply", ANA, **more) as request:
        for event in request:
            if isinstance(event, ToolCall):
                request.tool(event, function, effect=True)
    return request.reply


def test_tools_run_between_turns_and_their_results_reach_the_model() -> None:
    ran: list[int] = []

    def refund(order: int) -> str:
        ran.append(order)
        return "refunded"

    reply = read(Runner(Client(made()), {"a": agent}), refund)
    assert (reply.text, ran, reply.done) == ("done: refunded", [1], ("refund",))
    once = Runner(Client(made()), {"a": agent}).run("reply", ANA)
    assert (once.outcome, once.tools) == ("answered", (ToolCall("refund", {"order": 1}, "m-1"),))


def test_a_repeated_request_runs_no_effect_twice(tmp_path: Path) -> None:
    ran: list[str] = []

    def refund(order: int, idempotency_key: str) -> str:
        ran.append(idempotency_key)
        return "refunded"

    for _ in range(3):  # as after a crash: another process, the same log
        effects = SqliteEffects(tmp_path / "effects")
        reply = read(Runner(Client(made()), {"a": agent}, effects=effects), refund, request_id="r-1")
        effects.close()
        assert reply.text == "done: refunded"
    assert len(ran) == 1
    reply = read(Runner(Client(made()), {"a": agent}), refund, request_id="r-2")
    assert len(set(ran)) == 2


def test_an_effect_of_unknown_outcome_is_for_a_person() -> None:
    people, client = MemoryPeople(), Client(made(rung("human_review", queue="q")))

    def refund(order: int) -> str:
        raise ConnectionResetError

    runner = Runner(client, {"a": agent}, people=people)
    assert read(runner, refund, request_id="r-1").outcome == "queued"
    ran: list[int] = []
    assert read(runner, ran.append, request_id="r-1").outcome == "queued"
    assert ran == []
    assert [ticket.done for ticket in people.tickets] == [("refund",), ("refund",)]


def test_a_tool_that_the_policy_forbids_is_not_run() -> None:
    ran: list[Any] = []
    reply = read(Runner(Client(made(tools={"exclude": ["refund"]})), {"a": agent}), ran.append)
    assert ran == []
    assert "may not be used" in reply.text
    reply = read(Runner(Client(made(tools={"max_calls": 0})), {"a": agent}), ran.append)
    assert "No more tools" in reply.text


@pytest.mark.parametrize(("approved", "text", "times"), [(True, "done: refunded", 1), (False, "declined", 0)])
def test_a_tool_waits_for_approval_and_the_request_goes_on(approved: bool, text: str, times: int) -> None:
    people, ran = MemoryPeople(), []

    def refund(order: int) -> str:
        ran.append(order)
        return "refunded"

    runner = Runner(Client(made(tools={"require_approval": ["refund"]})), {"a": agent}, people=people)
    reply = read(runner, refund)
    assert (reply.outcome, ran) == ("pending", [])
    (ticket,) = people.tickets
    assert (ticket.id, ticket.reason, ticket.tool) == (
        reply.ticket,
        "approval",
        ToolCall("refund", {"order": 1}, "m-1"),
    )
    with runner.resume(ticket.id, approved=approved) as request:
        for event in request:
            assert isinstance(event, ToolCall | Text)
            if isinstance(event, ToolCall):
                request.tool(event, refund, effect=True)
    assert request.reply is not None
    assert text in request.reply.text
    assert len(ran) == times
    with pytest.raises(LookupError):
        runner.resume(ticket.id)


def test_who_resumes_knows_what_was_done_before() -> None:
    """After an effect in the first turn, what fails after the approval is for a person, not for a model that starts anew."""

    def ask(call: Call) -> Iterator[Any]:
        names = ("refund", "mail")
        if len(call.turns) < 2:
            yield Output("", finish="tool_calls", tools=(ToolCall(names[len(call.turns)], {}),))
        else:
            raise Failed("timeout")

    spare_calls: list[Call] = []
    people = MemoryPeople()
    policy = made(TO_SPARE, rung("human_review"), tools={"require_approval": ["mail"]})
    runner = Runner(Client(policy), {"a": ask}, people=people)
    runner.calls("b", resumes=False)(spare_calls.append)
    with runner.stream("reply", ANA) as request:
        for event in request:
            if isinstance(event, ToolCall):
                request.tool(event, lambda: "ok", effect=True)
    with runner.resume(people.tickets[0].id) as request:
        for event in request:
            if isinstance(event, ToolCall):
                request.tool(event, lambda: "ok", effect=True)
    assert request.reply is not None
    assert (request.reply.outcome, request.reply.done, spare_calls) == ("queued", ("refund", "mail"), [])


def test_a_call_in_a_thread_that_outlives_its_deadline_is_abandoned_and_runs_nothing() -> None:
    hold, went_on = threading.Event(), threading.Event()
    pieces: list[str] = []

    def ask(call: Call) -> Iterator[Text]:
        hold.wait(10)
        try:
            for piece in ("one", "two"):
                pieces.append(piece)
                yield Text(piece)
        finally:
            went_on.set()

    client = Client(made(deadline_ms=50))
    reply = Runner(client, {"a": ask}).run("reply", ANA)
    assert (reply.outcome, reply.error) == ("failed", "timeout")
    hold.set()
    assert went_on.wait(10)
    assert pieces == ["one"]


def test_a_plain_callable_serves_asyncio_too() -> None:
    def ask(call: Call, question: str) -> str:
        return f"{question} {threading.current_thread().name}"

    async def work() -> Any:
        return await AsyncRunner(Client(made()), {"a": ask}).run("reply", ANA, "hi")

    assert asyncio.run(work()).text == "hi brownout-runner"


def test_an_async_callable_is_refused_by_threads() -> None:
    with pytest.raises(TypeError, match="AsyncRunner"):
        Runner(Client(made()), {"a": says("x")}).run("reply", ANA)


def test_a_provider_without_a_callable_is_a_rung_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    reply = play(Client(made(TO_SPARE)), lambda runner: runner.run("reply", ANA), calls={"b": says("hi")})
    assert (reply.text, reply.error) == ("hi", "auth")
    assert "'a'" in caplog.text


def test_a_target_that_hangs_is_left_alone_after_three() -> None:
    calls: list[float] = []

    async def work(runner: AsyncRunner) -> Any:
        @runner.calls("a")
        async def ask(call: Call) -> Output:
            calls.append(runner.now())
            await asyncio.sleep(100)
            return Output("late")

        return [await runner.run("reply", ANA) for _ in range(10)]

    slow = MAIN | {"first_token_ms": 200}
    replies = play(Client(made(TO_SPARE, model=slow)), work, calls={"b": says("hi")})
    assert [reply.text for reply in replies] == ["hi"] * 10
    assert len(calls) == 3
