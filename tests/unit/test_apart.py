"""One hostile item costs a loop nothing but itself: it is counted, and the log has each kind of fault of it once."""

import asyncio

import pytest
from structlog.testing import capture_logs

from controlplane.errors import UnavailableError
from controlplane.kit.apart import SET_ASIDE, Turn, apart
from controlplane.kit.background import Loops, keep_running
from controlplane.kit.tasks import end

pytestmark = pytest.mark.anyio


def counted(loop: str) -> float:
    samples = [sample for metric in SET_ASIDE.collect() for sample in metric.samples]
    return sum(each.value for each in samples if each.name.endswith("_total") and each.labels["loop"] == loop)


def one_turn(faults: dict[str, Exception], loop: str = "turns") -> tuple[list[str], str]:
    """What was handled of three items, and the trouble that the turn met."""
    turn, handled = Turn(loop), []
    for name in ("a", "b", "c"):
        with turn.item(name):
            if name in faults:
                raise faults[name]
            handled.append(name)
    return handled, turn.trouble


@pytest.mark.parametrize("fault", [ValueError("odd"), KeyError("x"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no")])
def test_the_others_are_handled_and_the_trouble_names_the_item_and_nothing_of_what_it_holds(fault: Exception) -> None:
    before = counted("turns")
    assert one_turn({"b": fault}) == (["a", "c"], f"b: {type(fault).__name__}")
    assert counted("turns") - before == 1


def test_the_log_has_each_kind_of_fault_once_and_again_after_it_was_over() -> None:
    with capture_logs() as said:
        for _ in range(3):
            one_turn({"b": ValueError("odd")}, "said")
        assert [line["item"] for line in said] == ["b"]
        one_turn({"b": KeyError("x")}, "said")
        one_turn({}, "said")
        one_turn({"b": KeyError("x")}, "said")
    assert [line["error"] for line in said] == ["ValueError", "KeyError", "KeyError"]


def test_that_postgres_does_not_answer_is_no_items_fault() -> None:
    with pytest.raises(UnavailableError):
        one_turn({"a": UnavailableError("away")})


async def test_a_batch_is_halved_until_the_poison_stands_alone() -> None:
    done: list[int] = []
    poison: list[int] = []

    async def work(some: object) -> None:
        assert isinstance(some, list)
        if {3, 6} & set(some):
            raise ValueError("poison")
        done.extend(some)

    await apart(list(range(9)), work, lambda item, _: poison.append(item))
    assert (done, poison) == ([0, 1, 2, 4, 5, 7, 8], [3, 6])


async def test_a_loop_goes_on_when_a_library_cancels_what_it_waits_for() -> None:
    """As nats-py does with the answers that it waits for when its connection ends."""
    turns: list[int] = []

    async def work() -> None:
        turns.append(1)
        answer = asyncio.get_running_loop().create_future()
        if len(turns) < 3:
            answer.cancel()
        await answer

    running = asyncio.create_task(keep_running("answers", work, Loops(), pause_s=0.001, longest_pause_s=0.001))
    async with asyncio.timeout(10):
        while len(turns) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert not running.done()
    await end(running)
    assert running.cancelled()
