"""The golden traces through both drivers, with scripted callables on a virtual clock: each does what the ladder says."""

import asyncio
from typing import Any

import pytest

from brownout.runner import AsyncRunner, Runner, ToolCall
from brownout.runner.moves import Cancelled, Failure, Finish, Missed
from sdk.conformance.traces import Golden, traces
from sdk.tests.runner.scripted import Over, Script, async_call, follow, people, plain_call
from sdk.tests.runner.virtual import VirtualLoop, VirtualThreads, run


def playable(golden: Golden) -> bool:
    """Whether a driver can get there: our own limits come from a control plane, and no attempt outlives its time."""
    for before, after in zip(golden.trace.steps, golden.trace.steps[1:], strict=False):
        event, limit = after.event, getattr(before.action, "timeout_s", None)
        if isinstance(event, Failure) and (
            event.ours or (limit is not None and event.now_s > before.event.now_s + limit)
        ):
            return False
    return True


PLAYABLE = [golden for golden in traces() if playable(golden)]


def test_nearly_every_trace_can_be_played() -> None:
    assert len(PLAYABLE) >= len(traces()) - 8


@pytest.mark.parametrize("golden", PLAYABLE, ids=str)
def test_asyncio_takes_every_step(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(loop: VirtualLoop) -> Any:
        script = Script(golden.trace, loop.advance_to)
        follow(monkeypatch, script)

        async def sleep(instant: float) -> None:
            await asyncio.sleep(max(0.0, instant - loop.time()))

        sleep.asynchronous = True  # type: ignore[attr-defined]
        runner = script.build(AsyncRunner, now=loop.time, sleep=sleep, people=people(script, sleep))
        ask = async_call(script, sleep)
        runner.calls |= {"a": ask, "b": ask}
        cancels = [each.event.now_s for each in golden.trace.steps if isinstance(each.event, Cancelled)]

        async def read() -> Any:
            async with runner.stream("reply", {"targeting_key": "u"}, **script.given) as request:
                async for event in request:
                    if isinstance(event, ToolCall) and not isinstance(script.due, Missed):
                        if script.effect:
                            await sleep(script.due.now_s)

                        async def act(n: int) -> str:
                            await sleep(script.due.now_s)
                            return script.tool()

                        await request.tool(event, act, effect=script.effect, idempotent=script.idempotent)
                    elif isinstance(event, ToolCall):
                        await sleep(script.due.now_s)
            return request.reply

        reading = loop.create_task(read())
        for instant in cancels:
            loop.call_at(instant, reading.cancel)
        try:
            return script, await reading
        except (Over, asyncio.CancelledError):
            return script, None

    script, reply = run(work)
    finished(script, reply)


@pytest.mark.parametrize("golden", PLAYABLE, ids=str)
def test_threads_take_every_step(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = VirtualThreads()
    script = Script(golden.trace, threads.advance_to)
    follow(monkeypatch, script)

    def sleep(instant: float) -> None:
        threads.advance_to(instant)

    sleep.asynchronous = False  # type: ignore[attr-defined]
    runner = script.build(Runner, waiting=threads, sleep=sleep, people=people(script, sleep))
    ask = plain_call(script, sleep)
    runner.calls |= {"a": ask, "b": ask}
    reply = None
    try:
        with runner.stream("reply", {"targeting_key": "u"}, **script.given) as request:
            for event in request:
                if isinstance(event, ToolCall) and not isinstance(script.due, Missed):
                    if script.effect:
                        sleep(script.due.now_s)

                    def act(n: int) -> str:
                        sleep(script.due.now_s)
                        return script.tool()

                    request.tool(event, act, effect=script.effect, idempotent=script.idempotent)
                elif isinstance(event, ToolCall):
                    sleep(script.due.now_s)
        reply = request.reply
    except (Over, KeyboardInterrupt):
        pass
    finished(script, reply)


def finished(script: Script, reply: Any) -> None:
    assert script.at == len(script.trace.steps), f"stopped before step {script.at}"
    last = script.trace.steps[-1].action
    if isinstance(last, Finish) and reply is not None:
        assert reply.outcome == last.outcome
        assert reply.error == last.error
