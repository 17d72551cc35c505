"""Laws of the ledger: no fleet spends more than it was granted, and what is spent is counted. Virtual time."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brownout.model.values import Window
from brownout.telemetry.ledger import AGAIN_S, LOOK_S, QUIET_S, START_SHARE, UNKNOWN_FLEET, Key, Ledger, Reservation
from brownout.wire.leases import (
    EVERYONE,
    MOST,
    MOST_ASKS,
    Ask,
    Grant,
    decode_answer,
    decode_request,
    encode_request,
    period,
)

KEY = Key("budget", "standard", EVERYONE, "tokens", "minute")
T = 1_800_000_000.0
MINUTE = Window("tokens", 1_000_000, "minute")


class Service:
    """One window of one period: a counter that never passes the limit but by debts."""

    def __init__(self, window: Window, fleet: int) -> None:
        self.window, self.fleet, self.used = window, fleet, 0

    def answer(self, ask: Ask) -> Grant:
        self.used += ask.debt
        left = max(0, self.window.limit - self.used)
        granted = min(left, max(ask.need, min(ask.want, left // (2 * self.fleet))))
        self.used += granted
        return Grant(ask.flag, ask.variant, ask.scope, ask.start, granted, ask.debt, self.window.limit - self.used)

    def serve(self, ledger: Ledger, now: float) -> int:
        number, asks = ledger.ask(now)
        if number:
            ledger.answered(number, [self.answer(ask) for ask in asks], now)
        return len(asks)


def known(window: Window = MINUTE, fleet: int = 4) -> tuple[Ledger, Service]:
    """An instance that has been answered once."""
    ledger, service = Ledger(), Service(window, fleet)
    ledger.fleet = fleet
    ledger.fill(KEY, window, T)
    service.serve(ledger, T)
    return ledger, service


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "serve", "wait", "lose"]), st.integers(0, 3), st.integers(1, 30_000)
    ),
    max_size=120,
)


@given(STEPS, st.integers(1, 8), st.sampled_from([1_000, 50_000, 1_000_000]))
@settings(max_examples=150, deadline=None)
def test_a_fleet_that_is_answered_spends_no_more_than_it_is_granted(
    steps: list[tuple[str, int, int]], fleet: int, limit: int
) -> None:
    window = Window("tokens", limit, "day")
    service, ledgers = Service(window, fleet), [Ledger() for _ in range(4)]
    held: list[list[Reservation]] = [[] for _ in ledgers]
    spent, now = [0] * len(ledgers), T
    for ledger in ledgers:
        ledger.fleet = fleet
        ledger.fill(KEY, window, now)
        service.serve(ledger, now)
    for what, who, amount in steps:
        ledger, mine = ledgers[who], held[who]
        if what == "reserve":
            taken = ledger.reserve(KEY, window, amount, now)
            mine.extend([taken] if taken else [])
        elif what == "settle" and mine:
            used = min(mine[0].amount, amount)  # never above what was reserved
            ledger.settle(mine.pop(0), used)
            spent[who] += used
        elif what == "serve":
            service.serve(ledger, now)
        elif what == "wait":
            now += amount / 10_000
        elif what == "lose":
            number, asks = ledger.ask(now)  # the answer is lost: what it granted is no one's
            service.used += sum(service.answer(ask).granted * 0 for ask in asks)
            if number:
                ledger.unanswered(number, now)
                ledger.away = False
    total = sum(spent) + sum(each.amount for mine in held for each in mine)
    assert total <= service.used <= limit


@given(st.lists(st.integers(0, 5_000), max_size=60), st.integers(0, 60))
@settings(max_examples=100, deadline=None)
def test_what_is_spent_beyond_the_leases_is_charged_once(amounts: list[int], cut: int) -> None:
    """Whatever the answers were: once all is answered, the fleet's count covers what was spent."""
    ledger, service = known(Window("tokens", 20_000, "hour"))
    now, spent = T, 0
    for index, amount in enumerate(amounts):
        ledger.away = index < cut
        ledger.spend(KEY, service.window, amount, now)
        spent += amount
        if not ledger.away:
            now += AGAIN_S
            service.serve(ledger, now)
    for _ in range(4):
        now += AGAIN_S
        service.serve(ledger, now)
    assert service.used >= spent
    number, asks = ledger.ask(now + AGAIN_S)
    assert not [ask for ask in asks if ask.debt], number


def test_a_new_combination_starts_on_its_share_and_asks_at_once() -> None:
    ledger = Ledger()
    ledger.fleet = 5
    share = MINUTE.limit // (START_SHARE * 5)
    assert ledger.fill(KEY, MINUTE, T).available == share
    assert ledger.ask(T)[1]
    assert ledger.reserve(KEY, MINUTE, share, T)
    assert ledger.reserve(KEY, MINUTE, 1, T) is None


def test_the_first_request_of_a_combination_is_admitted_if_the_limit_covers_it() -> None:
    small = Window("requests", 2, "minute")
    assert Ledger().reserve(KEY, small, 1, T)
    assert Ledger().reserve(KEY, small, 3, T) is None
    ledger = Ledger()
    ledger.reserve(KEY, small, 1, T)
    assert ledger.reserve(KEY, small, 1, T) is None


def test_an_unknown_fleet_counts_twenty() -> None:
    assert Ledger().fill(KEY, MINUTE, T).available == MINUTE.limit // (START_SHARE * UNKNOWN_FLEET)


def test_without_an_answer_an_instance_spends_its_lease_and_then_its_share_of_what_was_left() -> None:
    ledger, service = known()
    lease = ledger.fill(KEY, MINUTE, T).available
    share = (MINUTE.limit - service.used - 3 * lease) // 4
    assert 0 < lease < share
    ledger.lost(T)
    fill = ledger.fill(KEY, MINUTE, T)
    assert fill.degraded
    assert fill.available == lease + share, "the three others may hold as much, of which it was not told"
    assert ledger.reserve(KEY, MINUTE, fill.available, T)
    assert ledger.reserve(KEY, MINUTE, 1, T) is None
    later = ledger.fill(KEY, MINUTE, T + 60)
    assert later.available == MINUTE.limit // 4, "in the next period nothing of the fleet's share is spent"


def test_when_someone_answers_again_the_degraded_spending_is_charged() -> None:
    ledger, service = known()
    lease = ledger.fill(KEY, MINUTE, T).available
    ledger.lost(T)
    assert ledger.reserve(KEY, MINUTE, lease + 1_000, T)
    _, asks = ledger.ask(T + AGAIN_S)
    assert [(ask.debt, ask.degraded) for ask in asks] == [(1_000, True)]
    used = service.used
    ledger.answered(ledger._number, [service.answer(asks[0])], T + AGAIN_S)
    assert service.used >= used + 1_000
    assert not ledger.fill(KEY, MINUTE, T + AGAIN_S).degraded


def test_a_lease_is_refilled_before_it_is_spent() -> None:
    ledger, service = known()
    held = ledger.fill(KEY, MINUTE, T).available
    asked = 0
    for n in range(200):
        taken = ledger.reserve(KEY, MINUTE, 1_000, T + n / 10)
        if taken is None:
            break
        ledger.settle(taken, 1_000)
        asked += service.serve(ledger, T + n / 10)
    assert taken is not None, f"refused although {MINUTE.limit - service.used} were left"
    assert held < 200_000
    assert asked < 100, "not every request asks"


def test_a_warning_spends_beyond_the_limit_and_says_so() -> None:
    window = Window("tokens", 1_000, "minute")
    ledger, service = known(window, fleet=1)
    taken = ledger.reserve(KEY, window, 5_000, T, force=True)
    assert taken
    ledger.settle(taken, 5_000)
    service.serve(ledger, T)
    fill = ledger.fill(KEY, window, T)
    assert fill.exceeded
    assert fill.used_bp == 50_000


def test_what_a_request_did_not_use_is_free_again() -> None:
    ledger, _ = known()
    before = ledger.fill(KEY, MINUTE, T).available
    taken = ledger.reserve(KEY, MINUTE, before, T)
    assert taken
    assert ledger.fill(KEY, MINUTE, T).exceeded
    ledger.settle(taken, 100)
    assert ledger.fill(KEY, MINUTE, T).available == before - 100


def test_a_period_ends_and_nothing_of_it_counts_in_the_next() -> None:
    ledger, service = known()
    taken = ledger.reserve(KEY, MINUTE, 10, T)
    assert taken
    number, asks = ledger.ask(T + LOOK_S + 1)
    assert asks
    ledger.fill(KEY, MINUTE, T + 60)
    ledger.settle(taken, 50_000)
    ledger.answered(number, [service.answer(ask) for ask in asks], T + 60)
    fill = ledger.fill(KEY, MINUTE, T + 60)
    assert fill.used_bp == 0
    assert fill.available == MINUTE.limit // (START_SHARE * 4)


def test_a_service_whose_clock_is_ahead_begins_the_period() -> None:
    ledger, _ = known()
    ahead = period("minute", T + 60)[0]
    ledger.reserve(KEY, MINUTE, 100, T)
    ledger.spend(KEY, MINUTE, 900_000, T)
    number, asks = ledger.ask(T)
    ledger.answered(number, [Grant(*KEY.place, ahead, 500, 0, 999_500)], T)
    assert asks
    assert ledger.fill(KEY, MINUTE, T).available == 500


def test_an_answer_counts_once_and_only_for_what_was_asked() -> None:
    ledger, service = known()
    before = ledger.fill(KEY, MINUTE, T).available
    other = KEY._replace(flag="another")
    ledger.fill(other, MINUTE, T)
    number, asks = ledger.ask(T)
    grants = [service.answer(ask) for ask in asks] + [Grant(*KEY.place, asks[0].start, 10**9)]
    ledger.answered(number, grants, T)
    ledger.answered(number, grants, T)
    ledger.answered(number + 7, grants, T)
    assert ledger.fill(KEY, MINUTE, T).available == before


def test_another_limit_is_obeyed_at_once_and_another_unit_begins_anew() -> None:
    ledger, _ = known()
    ledger.spend(KEY, MINUTE, 1_000, T)
    less = ledger.fill(KEY, Window("tokens", 10_000, "minute"), T)
    assert (less.exceeded, less.available) == (True, 0)
    assert less.used_bp > 10_000, "more was leased than there is now"
    requests = KEY._replace(unit="requests")
    assert ledger.fill(requests, Window("requests", 10, "minute"), T).used_bp == 0


@pytest.mark.parametrize(
    ("key", "window"),
    [
        (KEY._replace(unit="requests"), Window("requests", 10, "minute")),
        (KEY._replace(per="day"), Window("tokens", 10_000, "day")),
    ],
)
def test_a_request_under_the_policy_of_before_spends_from_no_window_of_another_unit_or_period(
    key: Key, window: Window
) -> None:
    ledger, service = known()
    taken = ledger.reserve(KEY, MINUTE, 5_000, T)
    assert taken
    assert ledger.reserve(key, window, 1, T)
    ledger.settle(taken, 4_000)
    ledger.spend(KEY, MINUTE, 900_000, T)
    assert (ledger._entries[key].spent, ledger._entries[key].reserved) == (0, 1)
    assert ledger._entries[KEY].spent == 904_000
    seen = []
    for _ in range(2):
        number, asks = ledger.ask(T + LOOK_S)
        assert len(asks) == 1, "a grant does not say which of the two it is of"
        seen.append((asks[0].unit, asks[0].per))
        ledger.answered(number, [service.answer(asks[0])], T + LOOK_S)
    assert sorted(seen) == sorted([("tokens", "minute"), (window.unit, window.per)])
    assert ledger._entries[key].granted < 10_000


def test_a_window_that_answers_leave_out_is_asked_for_less_and_less() -> None:
    """A commit has deleted it or changed its unit: no instance asks each second until the period ends."""
    ledger, now, asked_at = Ledger(), T, []
    window, key = Window("tokens", 1_000, "month"), KEY._replace(per="month")
    ledger.spend(key, window, 900, now)
    for second in range(300):
        number, asks = ledger.ask(now + second)
        if asks:
            asked_at.append(second)
            ledger.answered(number, [], now + second)
    assert asked_at[:6] == [0, 1, 3, 7, 15, 31]
    assert asked_at[6:] == list(range(61, 300, int(QUIET_S)))
    assert not ledger.away
    ledger.spend(key, window, 1, now)
    number, asks = ledger.ask(now + 400)
    ledger.answered(number, [Service(window, 1).answer(ask) for ask in asks], now + 400)
    assert ledger._entries[key].left_out == 0


def test_a_bounded_number_of_windows_is_kept_and_the_oldest_goes() -> None:
    ledger = Ledger(most=50)
    for n in range(500):
        ledger.reserve(KEY._replace(scope=n.to_bytes(16, "big")), MINUTE, 1, T)
    assert len(ledger) == 50
    assert len(ledger._touched) <= 50
    assert len(ledger.ask(T)[1]) <= MOST_ASKS


def test_a_request_costs_the_same_however_many_windows_there_are() -> None:
    """Compared in one process: a walk over all windows would cost a thousand times as much."""

    def cost(windows: int) -> float:
        ledger = Ledger()
        keys = [KEY._replace(scope=n.to_bytes(16, "big")) for n in range(windows)]
        for key in keys:
            ledger.reserve(key, MINUTE, 1, T)
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            for key in keys[:100]:
                taken = ledger.reserve(key, MINUTE, 1, T)
                if taken:
                    ledger.settle(taken, 1)
            best = min(best, time.process_time() - began)
        return best

    assert cost(10_000) < 50 * cost(100)


class Counted:
    """As NumPy's integers are: no int, but one can be made of it, and it compares."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value

    def __lt__(self, other: int) -> bool:
        return self.value < other

    def __gt__(self, other: int) -> bool:
        return self.value > other


ODD: list[tuple[Any, int]] = [
    (-5, 0), (2.9, 2), (2**70, MOST), (2**20_000, MOST), (True, 1), (Counted(7), 7), (Decimal(7), 7),
    (Decimal("1e999999"), MOST), (float("nan"), 0), (float("inf"), 0), (float("-inf"), 0), (Decimal("NaN"), 0),
    (Decimal("sNaN"), 0), (Decimal("Infinity"), 0), (None, 0), ("7", 0), ([7], 0),
]  # fmt: skip


@pytest.mark.parametrize(("count", "expected"), ODD, ids=range(len(ODD)))
def test_a_count_that_is_no_number_spoils_no_ask(count: Any, expected: int) -> None:
    """Whatever a service reports, the next ask can be sent, and the window says how it stands."""
    ledger = Ledger()
    ledger.spend(KEY, MINUTE, count, T)
    assert ledger._entries[KEY].spent == expected
    taken = ledger.reserve(KEY, MINUTE, count, T, force=True)
    assert taken is not None
    assert taken.amount == expected
    ledger.settle(taken, count)
    ledger.spend(KEY, MINUTE, 3, T)
    number, asks = ledger.ask(T)
    assert decode_request(encode_request(number, asks)) == (number, asks)
    assert asks[0].debt == min(MOST, 2 * expected + 3)
    assert 0 <= ledger.fill(KEY, MINUTE, T).used_bp <= MOST


@pytest.mark.parametrize(
    ("per", "start", "end"),
    [
        ("minute", "2026-02-28T23:59:00", "2026-03-01T00:00:00"),
        ("hour", "2026-02-28T23:00:00", "2026-03-01T00:00:00"),
        ("day", "2026-02-28T00:00:00", "2026-03-01T00:00:00"),
        ("month", "2026-02-01T00:00:00", "2026-03-01T00:00:00"),
    ],
)
def test_a_period_is_one_of_the_calendar_in_utc(per: str, start: str, end: str) -> None:
    def at(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert period(per, at("2026-02-28T23:59:30")) == (at(start), at(end))  # type: ignore[arg-type]


def test_an_ask_of_a_newer_version_is_left_out_and_the_others_are_read() -> None:
    ask = Ask("f", "v", EVERYONE, 0, need=1, want=2)
    newer = ("f", "v", EVERYONE, 0, 0, 1, 2, False, "", "", "a field of a newer version")
    data = encode_request(7, [ask, ("f", "v", "no bytes", 0), newer])  # type: ignore[list-item]
    assert decode_request(data) == (7, [ask, ask])
    assert decode_answer(encode_request(7, [Grant("f", "v", EVERYONE, 0, 5)]))[1][0].granted == 5  # type: ignore[list-item]
