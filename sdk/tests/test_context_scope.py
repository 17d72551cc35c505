"""A scope ends where it began to be seen: also in generators, which run in whoever calls them."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator

from brownout import context
from brownout.testing import FakeBrownout


def seen() -> dict[str, object]:
    return dict(context.current())


def plan(name: str) -> Iterator[dict[str, object]]:
    with context.scope({"plan": name}):
        yield seen()
        with context.scope({"deep": True}):
            yield seen()
        yield seen()


async def plan_async(name: str) -> AsyncIterator[dict[str, object]]:
    with context.scope({"plan": name}):
        yield seen()
        await asyncio.sleep(0)
        yield seen()


def test_a_generator_sees_its_scope_and_its_caller_does_not() -> None:
    with context.scope({"who": "caller"}):
        one, two = plan("one"), plan("two")
        steps = []
        for pair in zip(one, two, strict=True):
            steps += pair
            assert seen() == {"who": "caller"}
        assert steps[0] == {"who": "caller", "plan": "one"}
        assert [step["plan"] for step in steps] == ["one", "two"] * 3
        assert [step.get("deep") for step in steps] == [None, None, True, True, None, None]
    assert seen() == {}


def test_a_generator_closed_within_another_scope_leaves_that_alone() -> None:
    with context.scope({"a": 1}):
        half = plan("one")
        next(half)
        with context.scope({"b": 2}):
            half.close()
            assert seen() == {"a": 1, "b": 2}
        assert seen() == {"a": 1}
    assert seen() == {}


def test_a_client_asked_in_a_generator_gets_what_the_generator_added() -> None:
    fake = FakeBrownout()
    rule = {"id": "r", "if": [{"attribute": "plan", "op": "in", "values": ["pro"]}], "serve": "on"}
    fake.put("flag", "f", {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off",
                           "default": "off", "rules": [rule]})  # fmt: skip

    def asking() -> Iterator[bool]:
        with context.scope({"plan": "pro"}):
            yield fake.boolean("f")

    answers = asking()
    assert (next(answers), fake.boolean("f")) == (True, False)
    answers.close()


def test_an_async_generator_may_be_closed_or_dropped_by_another_task() -> None:
    faults: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, what: faults.append(what))
        half = plan_async("one")

        async def first() -> dict[str, object]:
            found = await anext(half)
            assert seen() == {}
            return found

        assert await asyncio.create_task(first()) == {"plan": "one"}
        await asyncio.create_task(half.aclose())  # type: ignore[attr-defined]

        async def begin() -> None:
            async for _ in plan_async("two"):
                break

        await asyncio.create_task(begin())
        gc.collect()
        await asyncio.sleep(0.01)
        assert [step async for step in plan_async("three")] == [{"plan": "three"}] * 2
        assert seen() == {}

    asyncio.run(main())
    assert faults == []


def test_a_token_that_is_not_from_here_is_ignored() -> None:
    token = context.set_context({"a": 1})
    context.reset(token)
    context.reset(token)
    assert seen() == {}

    async def other() -> None:
        context.reset(context_token)

    context_token = context.set_context({"a": 1})
    asyncio.run(other())
    assert seen() == {"a": 1}
    context.reset(context_token)


def test_it_decorates_functions() -> None:
    @context.scope({"a": 1})
    def decorated() -> dict[str, object]:
        return seen()

    assert (decorated(), decorated(), seen()) == ({"a": 1}, {"a": 1}, {})
