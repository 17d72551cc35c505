"""`python -m tests.bench.failover.routes <peer> <primary> <spare>`: a worker of the bench `runner`.

It asks while everything is well, says that it is warm, and then reads lines `<requests> <at once>` and answers each with
one JSON object of what happened.

Each peer is set up as its own guide shows for "try the spare when the primary fails"; `litellm_tuned` is what an expert
makes of it.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

Ask = Callable[[], Awaitable[Any]]
"""One request. Returns what the service would show, or raises what it would have to handle."""

QUESTION = "Where is my order?"
WARM = 20
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]


def brownout(primary: str, spare: str) -> Ask:
    from openai import AsyncOpenAI

    from brownout.runner import AsyncRunner
    from brownout.runner.adapters import openai_chat
    from sdk.tests.runner.served import TO_SPARE, Client, made, rung

    calls = {
        "a": openai_chat(AsyncOpenAI(base_url=primary, api_key="k")),
        "b": openai_chat(AsyncOpenAI(base_url=spare, api_key="k")),
    }
    apology = rung("template", text="We cannot answer that now.")
    runner = AsyncRunner(Client(made(TO_SPARE, apology, terminal={"refusal": "template"})), calls)

    async def ask() -> Any:
        reply = await runner.run("reply", {}, messages=MESSAGES)
        return reply.text if reply.rung == "model" else {"outcome": reply.outcome, "text": reply.text}

    return ask


def openai_alone(primary: str, _: str) -> Ask:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=primary, api_key="k")

    async def ask() -> Any:
        answer = await client.chat.completions.create(model="m-1", messages=MESSAGES)
        return answer.choices[0].message.content

    return ask


def openai_streamed(primary: str, _: str) -> Ask:
    """The bare client as our adapter uses it: below it nothing can be."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=primary, api_key="k")

    async def ask() -> Any:
        chunks = await client.chat.completions.create(
            model="m-1", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

    return ask


def pydantic_ai(primary: str, spare: str) -> Ask:
    from pydantic_ai import Agent
    from pydantic_ai.models.fallback import FallbackModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    models = [
        OpenAIChatModel(name, provider=OpenAIProvider(base_url=url, api_key="k"))
        for name, url in (("m-1", primary), ("s-1", spare))
    ]
    agent = Agent(FallbackModel(*models))

    async def ask() -> Any:
        return (await agent.run(QUESTION)).output

    return ask


def langchain(primary: str, spare: str) -> Ask:
    from langchain_openai import ChatOpenAI

    first, second = (
        ChatOpenAI(model=name, base_url=url, api_key=cast(Any, "k")) for name, url in (("m-1", primary), ("s-1", spare))
    )
    chain = first.with_fallbacks([second])

    async def ask() -> Any:
        return (await chain.ainvoke(QUESTION)).content

    return ask


def _litellm(primary: str, spare: str, **options: Any) -> Ask:
    import litellm
    from litellm import Router

    litellm.suppress_debug_info = True
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{model}", "api_base": url, "api_key": "k"}}
        for name, model, url in (("main", "m-1", primary), ("spare", "s-1", spare))
    ]
    router = Router(model_list=models, fallbacks=[{"main": ["spare"]}], **options)

    async def ask() -> Any:
        answer = await router.acompletion(model="main", messages=MESSAGES)
        return answer.choices[0].message.content

    return ask


def litellm(primary: str, spare: str) -> Ask:
    return _litellm(primary, spare)


def litellm_tuned(primary: str, spare: str) -> Ask:
    return _litellm(primary, spare, num_retries=0, max_fallbacks=1, allowed_fails=1, cooldown_time=30)


ROUTES = (brownout, litellm, litellm_tuned, pydantic_ai, langchain, openai_alone, openai_streamed)
PEERS = {each.__name__: each for each in ROUTES}


async def _measure(ask: Ask, requests: int, at_once: int) -> dict[str, Any]:
    places = asyncio.Semaphore(at_once)
    took: list[float] = []
    said: list[Any] = []

    async def one() -> None:
        async with places:
            started = time.perf_counter()
            try:
                answer = await ask()
            except Exception as error:
                answer = {"raised": type(error).__name__}
            took.append(time.perf_counter() - started)
            said.append(answer)

    cpu = time.process_time()
    await asyncio.gather(*(one() for _ in range(requests)))
    return {"took": took, "said": said, "cpu": (time.process_time() - cpu) / requests}


async def main(peer: str, primary: str, spare: str) -> None:
    make = partial(PEERS[peer], f"{primary}/v1", f"{spare}/v1")
    await _measure(make(), WARM, 5)
    print("warm", flush=True)
    ask = make()  # everything is loaded, and no breaker has seen anything yet
    while line := await asyncio.to_thread(sys.stdin.readline):
        requests, at_once = map(int, line.split())
        print(json.dumps(await _measure(ask, requests, at_once)), flush=True)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(*sys.argv[1:]))
