"""What providers' headers say of their limits, and how long the gate stays shut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.runner.rate_gate import RateGate
from brownout.runner.rate_headers import LONGEST_S, limits, retry_after_s

WALL = 1_795_000_000.0  # 2026-11-18T11:06:40Z
NAMES = [
    "retry-after", "retry-after-ms", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
    "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
]  # fmt: skip


def gate(chance: float = 0.0) -> RateGate:
    return RateGate(lambda: chance)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "30"}, 0.25),
        ({"retry-after": "Wed, 18 Nov 2026 11:07:10 GMT"}, 30),
        ({"retry-after": "Wed, 18 Nov 2020 11:07:10 GMT"}, 0),
        ({"retry-after": "Wed, 18 Nov 2026 12:07:10 GMT", "date": "Wed, 18 Nov 2026 12:06:40 GMT"}, 30),
        ({"retry-after": "999999999"}, LONGEST_S),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "٣٠"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, WALL) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360), ("1s", 1), ("20ms", 0.02), ("1m30.5s", 90.5), ("1h", 3600), ("2d", LONGEST_S), ("10", 10),
        ("0s", 0), ("", None), ("6m 0s", None), ("s", None), ("-1s", None), ("1y", None), ("9" * 30 + "s", None),
        ("1s" * 1_000_000, None),
    ],
)  # fmt: skip
def test_openai_counts_down(text: str, seconds: float | None) -> None:
    found = limits({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": text}, WALL)
    assert (found["requests"].resets_in_s if found else None) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-18T11:07:40Z", 60), ("2026-11-18T12:07:40+01:00", 60), ("2026-11-18T11:07:40", 60),
        ("2020-01-01T00:00:00Z", 0), ("9999-12-31T23:59:59Z", LONGEST_S), ("0001-01-01T00:00:00+14:00", 0),
        ("tomorrow", None), ("", None),
    ],
)  # fmt: skip
def test_anthropic_names_an_instant(text: str, seconds: float | None) -> None:
    found = limits({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": text}, WALL)
    assert (found["tokens"].resets_in_s if found else None) == seconds


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=80) | st.from_regex(r"[0-9a-zA-Z:.+-]{0,40}")))
def test_whatever_the_headers_say_a_gate_opens_within_the_longest_wait(headers: dict[str, str]) -> None:
    closed = gate(1.0)
    closed.observe(headers, 100.0, WALL)
    assert 0 <= closed.wait_s(10**9, 100.0, 10**9) <= LONGEST_S * 1.1
    assert closed.wait_s(10**9, 100.0 + LONGEST_S * 1.1, 10**9) == 0


def test_a_request_that_does_not_fit_waits_for_the_reset_and_a_smaller_one_goes() -> None:
    headers = {"x-ratelimit-remaining-tokens": "1000", "x-ratelimit-reset-tokens": "20s"}
    target = gate(1.0)
    target.observe(headers, 0.0, WALL)
    assert target.wait_s(1_000, 0.0) == 0
    assert target.wait_s(1_001, 0.0) == pytest.approx(22)
    assert target.wait_s(1_001, 22.1) == 0


def test_newer_headers_replace_older_ones() -> None:
    target = gate()
    for remaining in ("0", "500"):
        target.observe({"x-ratelimit-remaining-requests": remaining, "x-ratelimit-reset-requests": "1m"}, 0.0, WALL)
    assert target.wait_s(10, 0.0) == 0


def test_prompt_and_answer_have_limits_of_their_own() -> None:
    target = gate()
    reset = "2026-11-18T11:07:40Z"
    target.observe(
        {"anthropic-ratelimit-input-tokens-remaining": "50", "anthropic-ratelimit-input-tokens-reset": reset,
         "anthropic-ratelimit-output-tokens-remaining": "8", "anthropic-ratelimit-output-tokens-reset": reset},
        0.0, WALL,
    )  # fmt: skip
    assert target.wait_s(50, 0.0, 8) == 0
    assert target.wait_s(51, 0.0, 8) == 60
    assert target.wait_s(50, 0.0, 9) == 60


def test_retry_after_shuts_it_for_every_request_and_a_shorter_one_does_not_open_it() -> None:
    target = gate()
    target.observe({"retry-after": "30"}, 0.0, WALL)
    target.observe({"retry-after": "1"}, 1.0, WALL)
    assert target.wait_s(1, 1.0) == 29
    target.shut(60.0, 2.0)
    assert target.wait_s(1, 2.0) == 58
