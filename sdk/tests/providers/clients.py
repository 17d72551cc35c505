"""The real clients of OpenAI and Anthropic against a provider on loopback, synchronous and not, through the adapters."""

import asyncio
from collections.abc import Callable
from typing import Any

import anthropic
import openai

from brownout.runner import Call
from brownout.runner.adapters import anthropic_messages, openai_chat, openai_responses
from sdk.tests.providers.speech import Api

ADAPTERS: dict[Api, Callable[..., Any]] = {
    "chat": openai_chat, "responses": openai_responses, "anthropic": anthropic_messages,
}  # fmt: skip
KEY = "sk-test-0123456789"


def client(api: Api, url: str, *, asynchronous: bool, **more: Any) -> Any:
    """The client as anyone would make it, retries and all."""
    if api == "anthropic":
        made: Any = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
        return made(api_key=KEY, base_url=url, **more)
    made = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    return made(api_key=KEY, base_url=f"{url}/v1", **more)


def call(*, timeout_s: float = 20.0, **more: Any) -> Call:
    return Call(target="big", provider="p", model="m-1", timeout_s=timeout_s, **{"params": {}, **more})


def attempt(api: Api, url: str, *, asynchronous: bool, of: Call | None = None, **given: Any) -> tuple[list[Any], Any]:
    """One attempt: what it yielded, and what it raised."""
    given.setdefault("messages", [{"role": "user", "content": "hello"}])
    options = given.pop("adapter", {})
    if asynchronous:
        return asyncio.run(_attempt_async(api, url, of or call(), options, given))
    yielded: list[Any] = []
    with client(api, url, asynchronous=False) as made:
        try:
            for piece in ADAPTERS[api](made, **options)(of or call(), **given):
                yielded.append(piece)  # noqa: PERF402 - what came before an error counts
        except Exception as error:
            return yielded, error
    return yielded, None


async def _attempt_async(api: Api, url: str, of: Call, options: Any, given: Any) -> tuple[list[Any], Any]:
    yielded: list[Any] = []
    async with client(api, url, asynchronous=True) as made:
        try:
            async for piece in ADAPTERS[api](made, **options)(of, **given):
                yielded.append(piece)  # noqa: PERF401 - as above
        except Exception as error:
            return yielded, error
    return yielded, None
