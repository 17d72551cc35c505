"""What the runner tells of each request, as it leaves the process."""

import msgspec
import pytest

from brownout.runner import Failed, Output, Runner
from brownout.runner.cache import MemoryCache
from brownout.telemetry.sketch import quantile
from brownout.wire.telemetry import (
    ArmKey,
    AttemptKey,
    RequestTotals,
    RungTotals,
    TelemetryMessage,
    decode,
    rollout_rule,
)
from sdk.tests.runner.served import MAIN, TO_SPARE, Client, made, rung

RULE = rollout_rule("new-model", 1, 0)


def told(client: Client) -> TelemetryMessage:
    data = client._collect(True)
    assert data is not None
    return decode(data)


def totals(client: Client) -> RequestTotals:
    (found,) = told(client).requests.values()
    return found


def down(call: object, question: str) -> Output:
    raise Failed("overloaded")


def spare(call: object, question: str) -> Output:
    return Output("from the spare", usage=(100, 25))


def test_a_fallback_is_counted_as_what_answered_with_its_own_tokens() -> None:
    client = Client(made(TO_SPARE))
    reply = Runner(client, {"a": down, "b": spare}).run("reply", {}, "hello")

    found = totals(client)
    assert reply.answered_by == "spare"
    assert found.rungs == {"model:spare": RungTotals(1, 1, 1)}
    assert found.attempts[AttemptKey("a", "m-1")].outcomes == {"overloaded": 1}
    assert found.attempts[AttemptKey("a", "m-1")].input_tokens == 0
    assert (
        found.attempts[AttemptKey("b", "s-1")].input_tokens,
        found.attempts[AttemptKey("b", "s-1")].output_tokens,
    ) == (100, 25)
    assert (found.requests, found.unanswered) == (1, 0)
    assert (quantile(found.prompt, 0.5) or 0) > 0


def test_a_retry_that_answers_is_one_request_with_two_attempts() -> None:
    tries: list[str] = []

    def flaky(call: object, question: str) -> Output:
        tries.append(question)
        if len(tries) == 1:
            raise Failed("server_error")
        return Output("fine", usage=(10, 2))

    policy = made(retry={"max_attempts": 2, "retry_on": ["server_error"]})
    policy = msgspec.structs.replace(policy, exposures=((RULE, "treatment"),), unit="u-1")
    client = Client(policy)
    Runner(client, {"a": flaky}, chance=lambda: 0.0).run("reply", {}, "hello")

    message = told(client)
    (found,) = message.requests.values()
    assert (found.requests, found.errors, found.rungs) == (1, {}, {"primary:main": RungTotals(1, 1, 1)})
    assert (found.attempts[AttemptKey("a", "m-1")].outcomes, found.attempts[AttemptKey("a", "m-1")].retries) == (
        {"server_error": 1, "ok": 1}, 1,
    )  # fmt: skip
    assert message.arms[ArmKey(RULE, "treatment")].totals.bad == {"error": 1}, "the model as assigned failed once"


def test_a_cached_answer_says_how_old_it_is() -> None:
    clock = [1_000.0]
    client = Client(made(rung("cache", max_age_s=600)))
    answers = iter([Output("kept", usage=(10, 2))])

    def once(call: object, question: str) -> Output:
        for answer in answers:
            return answer
        raise Failed("overloaded")

    runner = Runner(client, {"a": once}, cache=MemoryCache(), tenant=None, wall_s=lambda: clock[0])
    runner.run("reply", {"targeting_key": "u-1"}, "hello")
    clock[0] += 120
    assert runner.run("reply", {"targeting_key": "u-1"}, "hello").rung == "cache"

    found = totals(client)
    assert (found.provisional, found.rungs["cache"].served) == (1, 1)
    assert quantile(found.cache_age, 0.5) == pytest.approx(120, rel=0.07)


@pytest.mark.parametrize("what", ["shed", "stop"])
def test_what_the_policy_turns_away_is_counted(what: str) -> None:
    client = Client(made(**{what: True}))
    Runner(client, {"a": spare}).run("reply", {}, "hello")

    found = totals(client)
    assert (found.shed, found.stopped) == ((1, 0) if what == "shed" else (0, 1))
    assert (found.rungs, found.attempts, found.unanswered) == ({}, {}, 0)


def test_no_answer_is_counted_as_none() -> None:
    client = Client(made())
    Runner(client, {"a": down}).run("reply", {}, "hello")

    assert (totals(client).unanswered, totals(client).rungs) == (1, {})


def test_a_drill_is_counted_apart_and_teaches_no_rollout() -> None:
    policy = msgspec.structs.replace(made(), exposures=((RULE, "treatment"),), unit="u-1")
    client = Client(policy)
    Runner(client, {"a": down}).run("reply", {}, "hello", drill="spring")

    message = told(client)
    (key,) = message.requests
    assert (key.drill, key.model, message.arms) == ("spring", MAIN["model"], {})


def test_an_instance_whose_calls_go_wrong_reports_early(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("brownout.telemetry.reports.time.monotonic", lambda: clock[0])
    client = Client(made(TO_SPARE))
    runner = Runner(client, {"a": down, "b": down}, chance=lambda: 0.5)
    for after_s, requests, sent in ((3, 2, False), (0, 4, True), (1, 1, False), (1, 0, True), (4, 0, False)):
        clock[0] += after_s
        for _ in range(requests):
            runner.run("reply", {}, "hello")
        assert (client._collect(False) is not None) is sent, (clock, requests)
