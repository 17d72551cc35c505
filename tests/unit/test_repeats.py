"""What repeats is counted: nothing is lost but the moment of each, and no one makes the log grow."""

from controlplane.access.repeats import WINDOW_S, Bound, Refusal, Repeats


class Monotonic:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal(name: str = "eve", reason: str = "may not edit", target: str = "/a", environment: str = "") -> Refusal:
    return Refusal("denied", name, "person", "", environment, reason, target, "198.51.100.7")


MINE = (Bound("person:eve", 3),)


def test_the_first_is_written_and_the_others_are_one_number() -> None:
    clock = Monotonic()
    repeats = Repeats(clock)
    assert repeats.see(refusal(), 1_000, MINE) == refusal()
    for n in range(500):
        assert repeats.see(refusal(target=f"/{n}"), 2_000 + n, MINE) is None
    assert repeats.take() == [], "its minute is not over"
    clock.now = WINDOW_S
    (counted,) = repeats.take()
    assert (counted.more, counted.first_ms, counted.last_ms, counted.last.target) == (500, 1_000, 2_499, "/499")
    assert repeats.see(refusal(), 70_000, MINE) == refusal(), "a new minute begins with a line"


def test_what_happened_once_is_told_once() -> None:
    clock = Monotonic()
    repeats = Repeats(clock)
    repeats.see(refusal(), 1_000, MINE)
    clock.now = WINDOW_S
    assert repeats.take() == []


def test_one_principal_has_so_many_lines_whatever_it_asks_for() -> None:
    repeats = Repeats(Monotonic())
    made = [repeats.see(refusal(environment=f"env-{n}"), n, MINE) for n in range(1_000)]
    assert sum(each is not None for each in made) == MINE[0].most + 1, "the last says that there are more"
    counted = repeats.take(every=True)
    assert sum(each.more for each in counted) == 1_000 - (MINE[0].most + 1)
    assert repeats.see(refusal(), 0, MINE) is not None, "the bound begins anew"


def test_bounds_are_each_ones_own() -> None:
    repeats = Repeats(Monotonic())
    for n in range(10):
        repeats.see(refusal(environment=f"env-{n}"), n, MINE)
    assert repeats.see(refusal("ann"), 0, (Bound("person:ann", 3),)) is not None


def test_what_could_not_be_written_comes_again() -> None:
    repeats = Repeats(Monotonic())
    for n in range(3):
        repeats.see(refusal(), n, MINE)
    taken = repeats.take(every=True)
    repeats.put_back(taken)
    assert repeats.take(every=True) == taken
