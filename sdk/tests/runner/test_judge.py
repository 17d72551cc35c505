"""A judge scores a share of the answers, and no request ever waits for it or fails by it."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from brownout.evaluation.policy import Policy
from brownout.runner import AsyncRunner, Call, Failed, Output, Runner
from brownout.runner.judge import Answer, Judge
from brownout.telemetry.counters import Telemetry
from brownout.wire.telemetry import RequestKey, decode, rollout_rule
from sdk.tests.runner.served import Client, made, rung

RULE = rollout_rule("new-prompt", 1, 0)
PATIENCE_S = 20.0


class Scored(Client):
    """Keeps what is scored."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.scores: list[float] = []
        self.arrived = threading.Semaphore(0)

    def score(self, policy: Policy, quality: float) -> None:
        super().score(policy, quality)
        self.scores.append(quality)
        self.arrived.release()

    def waits_for(self, scores: int) -> None:
        for _ in range(scores):
            assert self.arrived.acquire(timeout=PATIENCE_S)


def asked(client: Scored, judge: Judge, text: str = "Yes.", times: int = 1) -> None:
    runner = Runner(client, judge=judge)

    @runner.calls("a")
    def ask(call: Call, *, messages: list[Any]) -> Output:
        return Output(text)

    for _ in range(times):
        assert runner.run("reply", messages=[{"role": "user", "content": "Refund?"}]).text == text


def test_it_sees_question_and_answer_and_its_score_becomes_quality() -> None:
    client = Scored(made(prompt={"messages": [{"role": "system", "text": "Be kind."}]}))
    seen: list[Answer] = []

    def score(answer: Answer) -> float:
        seen.append(answer)
        return 0.75

    asked(client, Judge(score, share=1.0))
    client.waits_for(1)
    assert client.scores == [0.75]
    (answer,) = seen
    assert (answer.request_class, answer.reply.text) == ("reply", "Yes.")
    assert [message["content"] for message in answer.given["messages"]] == ["Be kind.", "Refund?"]
    (totals,) = decode(client._reports._telemetry.message() or b"").requests.values()
    assert (totals.requests, totals.quality_n, totals.quality_total) == (1, 1, 0.75)


def test_an_async_judge_of_an_async_runner() -> None:
    client = Scored(made())

    async def score(answer: Answer) -> float:
        await asyncio.sleep(0)
        return 1.0

    async def work() -> None:
        runner = AsyncRunner(client, judge=Judge(score, share=1.0))

        @runner.calls("a")
        async def ask(call: Call) -> Output:
            return Output("Yes.")

        assert (await runner.run("reply")).text == "Yes."

    asyncio.run(work())
    client.waits_for(1)
    assert client.scores == [1.0]


def test_a_share_is_sampled_by_chance() -> None:
    client = Scored(made())
    draws = iter([0.0, 0.09, 0.1, 0.5, 0.99, 0.05])
    asked(client, Judge(lambda _: 1.0, share=0.1, chance=lambda: next(draws)), times=6)
    client.waits_for(3)
    assert client.scores == [1.0] * 3


def test_a_judge_that_hangs_holds_up_no_request_and_what_finds_no_room_is_counted() -> None:
    client, free = Scored(made()), threading.Event()

    def score(_: Answer) -> float:
        assert free.wait(PATIENCE_S)
        return 0.5

    judge = Judge(score, share=1.0, most_waiting=3)
    asked(client, judge, times=10)
    assert client.scores == []
    assert judge.dropped in {6, 7}  # one is being judged, or is about to be
    free.set()
    client.waits_for(10 - judge.dropped)
    assert judge.scored == 10 - judge.dropped


@pytest.mark.parametrize("said", [ValueError("no"), SystemExit(1), float("nan"), "good", object()])
def test_whatever_a_judge_does_costs_no_answer(said: Any) -> None:
    client, judged = Scored(made()), threading.Semaphore(0)

    def score(_: Answer) -> Any:
        judged.release()
        if isinstance(said, BaseException):
            raise said
        return said

    judge = Judge(score, share=1.0)
    asked(client, judge, times=2)
    assert judged.acquire(timeout=PATIENCE_S)
    assert judged.acquire(timeout=PATIENCE_S)
    assert client.scores == []


def test_one_that_cannot_say_is_not_counted_either_way() -> None:
    client, judged = Scored(made()), threading.Event()

    def score(_: Answer) -> None:
        judged.set()

    judge = Judge(score, share=1.0)
    asked(client, judge)
    assert judged.wait(PATIENCE_S)
    assert (client.scores, judge.failed) == ([], 0)


@pytest.mark.parametrize("fails", [True, False])
def test_only_answers_of_models_are_judged(fails: bool) -> None:
    client = Scored(made(rung("template", "Try later.")))
    judge = Judge(lambda _: 1.0, share=1.0, request_classes=None if fails else {"another"})
    runner = Runner(client, judge=judge)

    @runner.calls("a")
    def ask(call: Call) -> Output:
        if fails:
            raise Failed("overloaded")
        return Output("Yes.")

    runner.run("reply")
    assert not judge._works
    assert client.scores == []


def test_a_score_is_evidence_for_the_unit_and_counts_no_request() -> None:
    telemetry = Telemetry("i-1", "support")
    policy = made(exposures=[[RULE, "new"]], unit="u-1")
    client = Client(policy)
    client._reports._telemetry = telemetry
    client.record(policy)
    client.score(policy, 0.4)
    client.score(policy, float("nan"))
    message = decode(telemetry.message() or b"")
    (totals,) = message.requests.values()
    assert (totals.requests, totals.quality_n, totals.quality_total) == (1, 1, 0.4)
    (arm,) = message.arms.values()
    assert (arm.totals.units, arm.totals.mean_n["quality"], arm.totals.at_risk["error"]) == (1, 1, 1)
    assert message.dropped == 1


def test_a_score_alone_is_sent() -> None:
    telemetry = Telemetry("i-1", "support")
    telemetry.score(RequestKey("reply", "m", "", ""), 0.5)
    assert telemetry.message() is not None
    assert telemetry.message() is None


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        Judge(_nothing, share=share)


_nothing: Callable[[Answer], None] = lambda _: None  # noqa: E731
