"""How large a lease is, what a window says when a newer version wrote it, and when it is full."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.model.values import Window
from brownout.wire.leases import EVERYONE, Ask, Grant, decode_answer, encode_request
from controlplane.budgets.counters import KEPT_S, PERIODS, config_of, place_of, window_prefix
from controlplane.budgets.grants import UNKNOWN_FLEET, kept, lease
from controlplane.budgets.leases import Leases
from controlplane.budgets.limits import AWAY_S, Limits, windows_of
from controlplane.budgets.service import forecast, shown
from controlplane.errors import UnavailableError
from controlplane.kit.clock import SystemClock
from controlplane.kit.jetstream import JetStreamUnavailableError
from controlplane.kit.link import Heard

START = datetime(2026, 11, 28, tzinfo=UTC)
DAY = timedelta(days=1)
WINDOW = Window("tokens", 1_000, "day")

amounts = st.integers(-1_000, 2**53)
asked = st.integers(0, 2**53)


@given(amounts, asked, asked, st.integers(0, 5_000))
def test_a_lease_is_never_more_than_is_left_nor_than_was_asked_for(left: int, need: int, want: int, fleet: int) -> None:
    granted = lease(left, need, want, fleet)
    assert 0 <= granted <= max(0, left)
    assert granted <= max(need, want)
    assert granted >= min(need, max(0, left)), "what an instance needs it gets, if there is so much"
    assert granted <= max(need, left // (2 * (fleet or UNKNOWN_FLEET)))


@given(st.integers(0, 10_000), st.lists(st.integers(1, 3_000), min_size=1, max_size=12), st.data())
def test_replicas_that_add_at_the_same_moment_grant_no_more_than_the_limit(
    limit: int, adds: list[int], data: st.DataObject
) -> None:
    """All add before any gives back, in any order: what is kept is exactly the limit, or all of it."""
    value, total, values = 0, 0, []
    for amount in adds:
        value += amount
        values.append(value)
    for index in data.draw(st.permutations(range(len(adds)))):
        total += kept(adds[index], values[index], limit)
    assert total == min(limit, sum(adds))


def test_what_a_newer_version_wrote_costs_only_what_it_says() -> None:
    spec = {
        "type": "token_budget", "newer": 1,
        "variants": {
            "plain": {"window": {"unit": "tokens", "limit": 5, "per": "day", "newer": [1]}, "newer": {}},
            "unit": {"window": {"unit": "joules", "limit": 5, "per": "day"}},
            "none": {}, "null": {"window": None}, "odd": 7, "huge": {"window": {"unit": "tokens", "limit": 2**70, "per": "day"}},
        },
    }  # fmt: skip
    assert windows_of(json.dumps(spec).encode()) == {"plain": Window("tokens", 5, "day")}


@pytest.mark.parametrize(
    "spec",
    [b"", b"null", b"[" * 9_999, b"\xff", b'{"type":"boolean","variants":{"on":true}}', b'{"type":"token_budget"}'],
)
def test_what_is_no_token_budget_has_no_windows(spec: bytes) -> None:
    assert windows_of(spec) == {}


def test_a_counter_outlives_its_period_and_is_named_by_hashes() -> None:
    longest = {"minute": 60, "hour": 3_600, "day": 86_400, "month": 31 * 86_400}
    for per in PERIODS:
        assert KEPT_S[per] > 2 * longest[per]
        assert config_of(per, 3)["max_age"] == KEPT_S[per] * 10**9
    prefix = window_prefix("production", "a.b.>", "*", WINDOW, 7)
    place = place_of(prefix, "day", b"\0" * 16, "key.>")
    assert place.subject.startswith("bow_budget.day.7.production.")
    assert not set(place.subject) & set("*> ")
    assert len(place.subject.split(".")) == 7
    assert place_of(prefix, "day", b"\0" * 16) != place_of(prefix, "day", b"\1" * 16)
    assert window_prefix("production", "a", "bc", WINDOW, 7) != window_prefix("production", "ab", "c", WINDOW, 7)


@pytest.mark.parametrize(
    ("used", "after", "full_after"),
    [
        (0, timedelta(hours=1), None),
        (500, timedelta(hours=6), timedelta(hours=12)),
        (500, timedelta(hours=12), None),
        (400, timedelta(hours=12), None),
        (1_000, timedelta(hours=3), timedelta(hours=3)),
        (1_500, timedelta(hours=3), timedelta(hours=3)),
        (5, timedelta(0), None),
    ],
)
def test_the_forecast_goes_on_at_the_rate_of_the_period(
    used: int, after: timedelta, full_after: timedelta | None
) -> None:
    expected = None if full_after is None else START + full_after
    assert forecast(used, 1_000, START, START + DAY, START + after) == expected


def test_of_a_window_that_counts_apart_the_fullest_is_shown() -> None:
    scoped = Window("tokens", 1_000, "day", ("tenant",))
    found = {f"bow_budget.day.0.e.w.{n:032x}": n * 100 for n in range(8)}
    window = shown(("f", "v", scoped), START + DAY / 2, found, more=False)
    assert (window.used, window.used_bp, window.combinations) == (700, 7_000, 8)
    assert [each.used for each in window.fullest] == [700, 600, 500, 400, 300]
    assert window.full_at is not None
    assert shown(("f", "v", WINDOW), START, {}, more=False).used_bp == 0


class Flags:
    """A store with one flag, whose Postgres can be told to refuse or to hang."""

    def __init__(self) -> None:
        self.limit, self.reads = 5, 0
        self.fails: BaseException | None = None
        self.hangs = False

    async def find_resource(self, *_: str) -> Any:
        self.reads += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        value = {"window": {"unit": "tokens", "limit": self.limit, "per": "day"}}
        return SimpleNamespace(spec=json.dumps({"type": "token_budget", "variants": {"v": value}}).encode())


@pytest.mark.parametrize("hangs", [False, True])
def test_windows_stay_as_they_were_read_while_postgres_does_not_answer(
    hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags, now = Flags(), [100.0]
    limits = Limits(flags, monotonic=lambda: now[0])  # type: ignore[arg-type]

    async def limit(flag: str = "f") -> int:
        return (await limits.of_flag("e", flag))["v"].limit

    async def scenario() -> None:
        monkeypatch.setattr("controlplane.budgets.limits.READ_S", 60)
        assert await limit() == 5
        monkeypatch.setattr("controlplane.budgets.limits.READ_S", 0.001)
        flags.hangs, flags.fails, flags.limit = hangs, UnavailableError("gone"), 9
        limits.changed("e")
        assert await limit() == 5, "a commit that cannot be read yet takes no window away"
        reads = flags.reads
        for n in range(100):
            assert await limit() == 5
            with pytest.raises(UnavailableError):
                await limit(f"unread-{n}")
        assert flags.reads == reads, "Postgres is not asked for each of the flags that a message names"
        monkeypatch.setattr("controlplane.budgets.limits.READ_S", 60)
        flags.hangs, flags.fails = False, None
        now[0] += AWAY_S
        assert await limit() == 9

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("flags", "answered"),
    [
        (["good", "unread", "newer", "good"], [["good", "good"]]),
        (["good", "uncounted", "good"], [["good"]]),
        (["unread"], []),
        (["uncounted", "good"], []),
        (["nowhere"], [[]]),
        (["older", "recounted", "longer", "good"], [["older", "good"]]),
    ],
)
def test_what_is_granted_is_answered_although_other_windows_cannot_be_read_or_counted(
    flags: list[str], answered: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = {"unread": UnavailableError("gone"), "newer": ValueError("newer")}
    says: dict[str, Any] = {
        "older": {},
        "recounted": {"unit": "requests"},
        "longer": {"unit": "tokens", "per": "month"},
    }
    found: list[list[str]] = []

    class Reads:
        async def of_flag(self, _: str, flag: str) -> dict[str, Window]:
            if flag in failures:
                raise failures[flag]
            return {} if flag == "nowhere" else {"v": WINDOW}

    async def grant(*of: Any) -> Grant:
        ask: Ask = of[-1]
        if ask.flag == "uncounted":
            raise JetStreamUnavailableError("no leader")
        return Grant(ask.flag, ask.variant, ask.scope, ask.start, 1)

    async def told(_: Heard, data: bytes) -> None:
        found.append([grant.flag for grant in decode_answer(data)[1]])

    async def scenario() -> None:
        leases = Leases(Reads(), None, SystemClock(), lambda _: 1)  # type: ignore[arg-type]
        monkeypatch.setattr(leases, "_grant", grant)
        asks = [
            Ask(flag, "v", EVERYONE, 0, need=1, **says.get(flag, {"unit": "tokens", "per": "day"})) for flag in flags
        ]
        await leases.receive(Heard("bot.e.key.i.lease", encode_request(1, asks)))
        waiting = leases._next()
        assert waiting is not None
        try:
            await leases._serve(waiting)
        except (UnavailableError, JetStreamUnavailableError):
            assert "nowhere" not in flags
        else:
            assert not {"unread", "newer", "uncounted"} & set(flags), "what went wrong is told all the same"

    monkeypatch.setattr(Heard, "grant", told)
    asyncio.run(scenario())
    assert found == answered
