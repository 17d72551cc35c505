"""Requests saved for later: each answered once, none lost, none answered too late."""

import asyncio
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from brownout.runner import AsyncRunner, Call, Failed, Output, Reply, Runner
from brownout.runner.breaker import Breaker
from brownout.runner.drain import Room, drain, drain_async
from brownout.runner.limiter import Limiter
from brownout.runner.outbox import MOST_TRIES, Drainable, MemoryOutbox, OutboxFull, Saved
from brownout.runner.sqlite_outbox import SqliteOutbox
from sdk.tests.runner.processes import run_and_kill
from sdk.tests.runner.served import Client, made, rung


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Any:
    if request.param == "memory":
        return MemoryOutbox(3, now=clock)
    return SqliteOutbox(tmp_path / "outbox.db", 3, now=clock)


def test_requests_come_back_oldest_first_and_one_worker_has_each(outbox: Drainable) -> None:
    for key in ("b", "a"):
        outbox.put(key, key.encode(), 2_000.0)
    assert outbox.take() == Saved("b", b"b", 2_000.0)
    assert outbox.take() == Saved("a", b"a", 2_000.0)
    assert outbox.take() is None


def test_a_key_is_saved_once_while_it_waits_and_after_it_was_answered(outbox: Drainable) -> None:
    outbox.put("a", b"first", 2_000.0)
    outbox.put("a", b"second", 3_000.0)
    assert outbox.take() == Saved("a", b"first", 2_000.0)
    outbox.put("a", b"third", 3_000.0)
    outbox.done("a")
    outbox.put("a", b"fourth", 3_000.0)
    assert outbox.take() is None


def test_what_no_one_wants_any_more_is_dropped(outbox: Drainable, clock: Clock) -> None:
    outbox.put("a", b"a", 1_010.0)
    clock.now = 1_010.0
    assert outbox.take() is None


def test_a_worker_that_dies_leaves_its_request_to_another(outbox: Drainable, clock: Clock) -> None:
    outbox.put("a", b"a", 9_000.0)
    assert outbox.take(60.0) is not None
    clock.now += 59
    assert outbox.take() is None
    clock.now += 1
    assert outbox.take() == Saved("a", b"a", 9_000.0, 2)


def test_what_fails_rests_and_is_tried_a_few_times(outbox: Drainable, clock: Clock) -> None:
    outbox.put("a", b"a", 9_000.0)
    for tried in range(1, MOST_TRIES + 1):
        saved = outbox.take()
        assert saved is not None
        assert saved.tries == tried
        outbox.put_back("a", 30.0)
        assert outbox.take() is None
        clock.now += 30
    assert outbox.take() is None


def test_a_full_outbox_says_so_and_has_room_again_later(outbox: Drainable, clock: Clock) -> None:
    for number in range(3):
        outbox.put(str(number), b"", 2_000.0 + number)
    with pytest.raises(OutboxFull):
        outbox.put("3", b"", 2_000.0)
    outbox.put("2", b"", 2_000.0)
    clock.now = 2_000.0
    outbox.put("3", b"", 3_000.0)


def test_a_huge_request_is_refused(outbox: Drainable) -> None:
    with pytest.raises(OutboxFull):
        outbox.put("a", b"x" * 1_000_001, 2_000.0)


def room(limiter: Limiter | None = None, breaker: Breaker | None = None) -> Room:
    return Room(breaker or Breaker(lambda: 0.5), limiter or Limiter(10), lambda: 0.0)


def test_draining_answers_each_request_once(outbox: Drainable) -> None:
    for key in "abc":
        outbox.put(key, b"", 2_000.0)
    answered: list[str] = []
    assert drain(outbox, lambda saved: answered.append(saved.key), room()) == 3
    assert answered == ["a", "b", "c"]
    assert drain(outbox, lambda saved: answered.append(saved.key), room()) == 0


@pytest.mark.anyio
async def test_draining_awaits_its_answers(outbox: Drainable, clock: Clock) -> None:
    answered: list[str] = []

    async def answer(saved: Saved) -> None:
        if saved.key == "b" and saved.tries == 1:
            raise ConnectionError
        answered.append(saved.key)

    for key in "abc":
        outbox.put(key, b"", 2_000.0)
    assert await drain_async(outbox, answer, room()) == 1
    clock.now += 60
    assert await drain_async(outbox, answer, room()) == 2
    assert answered == ["a", "b", "c"]


def test_an_answer_that_fails_ends_draining_for_now(outbox: Drainable, clock: Clock, caplog: Any) -> None:
    for key in "ab":
        outbox.put(key, b"secret", 2_000.0)

    def fail(saved: Saved) -> None:
        raise ConnectionError

    assert drain(outbox, fail, room()) == 0
    assert "secret" not in caplog.text
    assert drain(outbox, lambda _: None, room()) == 1
    clock.now += 60
    assert drain(outbox, lambda _: None, room()) == 1


def test_nothing_drains_while_the_target_is_down_or_recovers() -> None:
    breaker = Breaker(lambda: 0.5)
    now = 0.0
    kept = Room(breaker, Limiter(10), lambda: now)
    for _ in range(5):
        breaker.failure(now, "server_error")
    assert not kept.enter()
    now = 5.0
    breaker.admit(now, True)
    breaker.success(now, "probe")
    assert not kept.enter()
    now = 15.0
    assert kept.enter()


def test_draining_has_a_tenth_of_the_limit_and_only_room_to_spare() -> None:
    kept = room(Limiter(40))
    assert [kept.enter() for _ in range(5)] == [True] * 4 + [False]
    kept.leave()
    assert kept.enter()
    busy = Limiter(10)
    for _ in range(5):
        busy.acquire("critical")
    assert not room(busy).enter()


WORKER = """
import sys
from brownout.runner.sqlite_outbox import SqliteOutbox
outbox = SqliteOutbox(sys.argv[1])
print("ready", flush=True)
with open(sys.argv[2], "ab", buffering=0) as said:
    for number in range(100_000):
        key = f"{sys.argv[3]}-{number}"
        outbox.put(key, b"prompt", 4e9)
        said.write(f"{key}\\n".encode())
"""

DRAINER = """
import sys
from brownout.runner.sqlite_outbox import SqliteOutbox
outbox = SqliteOutbox(sys.argv[1])
print("ready", flush=True)
while (saved := outbox.take()) is not None:
    print(saved.key, flush=True)
    outbox.done(saved.key)
"""


def test_what_was_saved_survives_kill_9_and_is_drained_once(tmp_path: Path) -> None:
    chance = random.Random(14)
    path, said = str(tmp_path / "outbox.db"), tmp_path / "said"
    for number in range(4):
        run_and_kill(WORKER, path, str(said), str(number), chance=chance, longest_s=0.3)
    acknowledged = said.read_text().splitlines()
    assert len(acknowledged) > 20
    drainers = [
        subprocess.Popen([sys.executable, "-c", DRAINER, path], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    taken = Counter(line for drainer in drainers for line in drainer.communicate()[0].splitlines() if line != "ready")
    assert set(acknowledged) <= set(taken)
    assert set(taken.values()) == {1}


def test_a_runner_drains_what_it_saved_once_its_model_is_back() -> None:
    down = True

    def ask(call: Call, question: str, *, system: str) -> Output:
        if down:
            raise Failed("overloaded")
        return Output(f"{system} {question}", usage=(10, 2))

    client = Client(made(rung("later", "We saved your question.", not_after_s=600)))
    runner = Runner(client, {"a": ask}, outbox=MemoryOutbox())
    said = runner.run("reply", {"targeting_key": "u-1"}, "who?", system="You help.", request_id="r-1")
    assert (said.outcome, said.text, said.ticket) == ("queued", "We saved your question.", "r-1")
    delivered: list[tuple[str, str]] = []

    def deliver(saved: Saved, reply: Reply) -> None:
        delivered.append((saved.key, reply.text))

    assert runner.drain(deliver, "reply") == 0, "the model is still down"
    assert delivered == []
    down = False
    runner.outbox.put_back("r-1", 0.0)  # type: ignore[union-attr]
    assert runner.drain(deliver, "reply") == 1
    assert delivered == [("r-1", "You help. who?")]
    assert runner.drain(deliver, "reply") == 0


def test_draining_stops_while_a_breaker_is_open() -> None:
    client = Client(made(rung("later", "Saved.", not_after_s=600)))

    def ask(call: Call, question: str) -> Output:
        raise Failed("overloaded")

    runner = Runner(client, {"a": ask}, outbox=MemoryOutbox())

    def deliver(saved: Saved, reply: Reply) -> None:
        raise AssertionError

    for number in range(8):
        runner.run("reply", {}, "who?", request_id=f"r-{number}")
    before = len(client.recorded)
    assert runner.drain(deliver, "reply") == 0
    assert len(client.recorded) == before, "nothing was asked"
    assert runner.drain(deliver) == 0, "no class, no room"


def test_an_asynchronous_runner_drains_too() -> None:
    answers = iter([Failed("overloaded"), Output("fine")])

    async def ask(call: Call, question: str) -> Output:
        answer = next(answers)
        if isinstance(answer, Failed):
            raise answer
        return answer

    delivered: list[str] = []

    async def deliver(saved: Saved, reply: Reply) -> None:
        delivered.append(reply.text)

    async def both() -> int:
        client = Client(made(rung("later", "Saved.", not_after_s=600)))
        runner = AsyncRunner(client, {"a": ask}, outbox=MemoryOutbox())
        assert (await runner.run("reply", {}, "who?")).outcome == "queued"
        return await runner.drain(deliver, "reply")

    assert asyncio.run(both()) == 1
    assert delivered == ["fine"]
