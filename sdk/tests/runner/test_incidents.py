"""Incident profiles, replayed with forty instances."""

import random
from collections import Counter

import pytest

from brownout.model.resources import Criticality
from sdk.tests.runner.fleet import INSTANCES, Capacity, Fleet, Request, Response


def healthy(_: float, chance: random.Random) -> Response:
    return Response(chance.uniform(0.3, 0.9))


def down(_: float, chance: random.Random) -> Response:
    return Response(chance.uniform(0.02, 0.2), "server_error")


def silent(_: float, __: random.Random) -> Response:
    return Response(None)


def attempts(requests: list[Request], name: str = "") -> int:
    return sum(called == name or not name for request in requests for called, _ in request.attempts)


def between(requests: list[Request], since: float, until: float) -> list[Request]:
    return [request for request in requests if since <= request.at < until]


def share_of(name: str, requests: list[Request]) -> float:
    return sum(request.answered_by == name for request in requests) / len(requests)


def errors_of(request: Request) -> set[str | None]:
    return {error for _, error in request.attempts}


def test_both_targets_down_twenty_requests_five_at_a_time() -> None:
    requests = Fleet({"primary": down, "fallback": down}).run_in_turns(0, 20, 5)
    assert attempts(requests) / 20 <= 1.1
    assert {request.answered_by for request in requests} == {"template"}


def test_both_targets_down_for_five_minutes() -> None:
    requests = Fleet({"primary": down, "fallback": down}).run(300, 1.0)
    assert attempts(requests) / len(requests) <= 0.15


def test_an_outage_that_ends_in_stalls() -> None:
    """100 % 530s for four minutes, then stalls of 30 s for three, then health."""

    def primary(now: float, chance: random.Random) -> Response:
        if now < 60 or now >= 480:
            return healthy(now, chance)
        return down(now, chance) if now < 300 else Response(30.0)

    requests = Fleet({"primary": primary, "fallback": healthy}).run(600, 1.0)
    assert share_of("primary", between(requests, 0, 60)) == 1
    assert share_of("template", requests) == 0
    outage = between(requests, 60, 300)
    assert attempts(outage, "primary") / INSTANCES <= 35  # 16 to open it, their retries, and its probes
    assert max(request.seconds for request in outage) < 2.5
    stalls = Counter(request.instance for request in between(requests, 300, 480) if "timeout" in errors_of(request))
    assert max(stalls.values()) <= 180 / (0.8 * 30) + 1  # probes only
    assert share_of("primary", between(requests, 525, 600)) >= 0.9
    assert share_of("primary", between(requests, 535, 600)) == 1


def test_the_fleet_is_back_45_s_after_an_outage_of_any_length() -> None:
    for lasts in (20, 75, 180):

        def primary(now: float, chance: random.Random, ends: float = 60.0 + lasts) -> Response:
            return down(now, chance) if 60 <= now < ends else healthy(now, chance)

        requests = Fleet({"primary": primary, "fallback": healthy}, seed=lasts).run(60 + lasts + 60, 1.0)
        assert share_of("primary", between(requests, 60 + lasts + 45, 60 + lasts + 60)) >= 0.97


@pytest.mark.parametrize("per_s", [0.5, 2.0])
def test_silence_is_paid_for_by_three_requests_an_instance_those_in_flight_and_probes(per_s: float) -> None:
    def primary(now: float, chance: random.Random) -> Response:
        return healthy(now, chance) if now < 60 else Response(None)

    requests = Fleet({"primary": primary, "fallback": healthy}).run(180, per_s)
    assert share_of("template", requests) == 0
    for instance in range(INSTANCES):
        paid = [r for r in requests if r.instance == instance and "timeout" in errors_of(r) and not r.probes]
        third = sorted(paid, key=lambda request: request.at)[2].at + 4.5  # what was begun before its limit ended
        assert all(request.at < third for request in paid)
        assert sum(r.probes for r in requests if r.instance == instance) <= 7


def test_a_quarter_of_errors_for_hours_opens_nothing() -> None:
    def primary(now: float, chance: random.Random) -> Response:
        return down(now, chance) if chance.random() < 0.25 else healthy(now, chance)

    requests = Fleet({"primary": primary, "fallback": healthy}).run(2 * 3600, 0.2)
    assert attempts(requests, "primary") >= len(requests)  # none was kept from it
    assert share_of("template", requests) == 0
    assert attempts(requests) / len(requests) <= 1.3


def test_an_exhausted_quota_costs_one_call_for_each_time_that_the_gate_is_shut() -> None:
    def primary(now: float, chance: random.Random) -> Response:
        return Response(0.1, "budget_exhausted") if now >= 60 else healthy(now, chance)

    requests = Fleet({"primary": primary, "fallback": healthy}).run(360, 0.5)
    calls = Counter(
        request.instance for request in between(requests, 60, 360) if "budget_exhausted" in errors_of(request)
    )
    assert sum(calls.values()) / INSTANCES <= 300 / 60 + 0.5  # two arrive together now and then
    assert share_of("template", requests) == 0


def test_retry_after_keeps_everyone_away_until_then() -> None:
    def primary(now: float, chance: random.Random) -> Response:
        limited = Response(0.1, "rate_limited", {"retry-after": "30"})
        return limited if 60 <= now < 85 else healthy(now, chance)

    requests = Fleet({"primary": primary, "fallback": healthy}).run(180, 1.0)
    refused = [request for request in requests if "rate_limited" in errors_of(request)]
    assert len(refused) <= INSTANCES * 1.5
    assert max(request.seconds for request in requests) < 2
    assert share_of("primary", between(requests, 122, 180)) == 1


def test_a_provider_that_wants_a_slow_ramp_is_hardly_refused() -> None:
    """It takes 40 at a time and 10 % more each half minute; forty instances want 120."""
    provider = Capacity(lambda now: 40 * 1.1 ** (now / 30), "rate_limited")
    requests = Fleet({"primary": provider, "fallback": healthy}).run(300, 3.0)
    settled = between(requests, 30, 300)
    refused = sum("rate_limited" in errors_of(request) for request in settled) / attempts(settled, "primary")
    assert refused <= 0.35
    assert share_of("primary", settled) >= 0.4
    assert share_of("template", requests) == 0


@pytest.mark.parametrize(("per_s", "least"), [(60.0, 0.99), (20.0, 0.96)])
def test_at_twice_what_a_fallback_takes_critical_requests_get_through(per_s: float, least: float) -> None:
    """The primary is gone; the fallback takes half of what is asked, and a quarter of that is critical. Where an instance
    has about ten places, a tenth of them is too few for what arrives together."""
    provider = Capacity(lambda _: INSTANCES * per_s / 2)
    fleet = Fleet({"primary": down, "fallback": provider})
    shares: dict[Criticality, float] = {"critical": 0.25, "sheddable_plus": 0.25, "sheddable": 0.5}
    requests = between(fleet.run(55, per_s, shares), 15, 55)
    by = {name: [request for request in requests if request.criticality == name] for name in shares}
    assert share_of("fallback", by["critical"]) >= least
    assert share_of("fallback", by["sheddable"]) < share_of("fallback", by["sheddable_plus"]) < 0.9
    assert provider.refused / (provider.served + provider.refused) <= 0.02
