"""A made-up service that obeys its policies: a runner, callables for the made-up provider, and what customers ask."""

import random
from collections.abc import AsyncIterator, Mapping

from brownout import Brownout
from brownout.runner import AsyncRunner, Call, Failed, Output, Reply, Text, Ticket
from brownout.runner.cache import Cache
from controlplane.demo.provider import Provider

PROMPT_CHARACTERS = {"support-reply": 4_900, "support-summary": 9_100, "refund-decision": 3_150}
TOPICS = ("my order", "my invoice", "a new address", "a broken lamp", "a return", "my password", "a late parcel",
          "a gift card", "two charges", "the warranty", "a discount", "the app")  # fmt: skip
PROMPTS = {
    name: [
        f"{topic} {'.' * int(characters * random.Random(topic).lognormvariate(0, 0.4))}"  # noqa: S311 - not secrets
        for topic in TOPICS
    ]
    for name, characters in PROMPT_CHARACTERS.items()
}
"""What customers write: of different lengths, and the same again and again."""
GOOD, BROKEN = '{"reply": "…"}', '{"reply": "…'
ARTICLES = ("an article of the help pages",)


class DemoService:
    """One running instance: an SDK client and a runner of its own, the shared provider, some luck."""

    def __init__(self, client: Brownout, provider: Provider, chance: random.Random, cache: Cache) -> None:
        """`cache` is shared by the instances of a service. Its answers are for anyone."""
        self._client = client
        self._provider = provider
        self._chance = chance
        calls = {"anthropic": self._ask, "openai": self._ask}
        self._runner = AsyncRunner(client, calls, cache=cache, people=_queue, tenant=None, user=None)

    async def serve(self, request_class: str, context: Mapping[str, object]) -> Reply:
        client, index = self._client, self._chance.randrange(len(TOPICS))
        client.boolean("web-search", context)
        client.string("reply-tone", context)
        found = ARTICLES if self._chance.random() < 0.96 else ()
        return await self._runner.run(
            request_class, context, PROMPTS[request_class][index], validate=_is_whole, evidence=found,
            values={"name": context["customer"], "topic": TOPICS[index]},
        )  # fmt: skip

    async def _ask(self, call: Call, prompt: str) -> AsyncIterator[Text | Output]:
        answer = self._provider.answer(call.provider, call.model)
        if answer.error is not None:
            await self._provider.spend(answer.duration_ms)
            raise Failed(answer.error)
        await self._provider.spend(answer.time_to_first_token_ms)
        yield Text(GOOD if answer.format_ok else BROKEN)
        await self._provider.spend(answer.duration_ms - answer.time_to_first_token_ms)
        if not answer.refused and self._chance.random() < 0.08:
            self._client.track("thumbs-up" if answer.quality > 0.85 else "thumbs-down")
        tokens = min(answer.output_tokens, call.max_output_tokens or answer.output_tokens)
        yield Output(
            "", (len(prompt) * 2 // 7, tokens), "refusal" if answer.refused else "stop", quality=answer.quality
        )


async def _queue(ticket: Ticket) -> None:
    """A person decides some day."""


def _is_whole(text: str) -> bool:
    return text == GOOD
