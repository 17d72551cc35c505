"""Forty instances on a virtual clock: real breakers, gates, limiters and budgets; providers and requests are modelled.

A request tries the targets in order and falls to a template. A `server_error` is retried once, an `overloaded` once at
the last target, both at the price of a retry token.
"""

import heapq
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from brownout.model.resources import Criticality
from brownout.model.values import ErrorClass, RetryBudget, RetryPolicy
from brownout.runner import retry_budget
from brownout.runner.backoff import backoff_s
from brownout.runner.breaker import Breaker
from brownout.runner.latency import FirstToken
from brownout.runner.limiter import Limiter
from brownout.runner.limiter import Outcome as Load
from brownout.runner.rate_gate import SHUT_S, RateGate

INSTANCES = 40
WALL = 1_795_000_000.0
POLICY = RetryPolicy(max_attempts=2, retry_budget=RetryBudget(ratio=0.1, min_per_s=1.0))
NO_HEADERS: Mapping[str, str] = {}


class Response(NamedTuple):
    """What a provider does with one attempt."""

    after_s: float | None
    """None hangs."""
    error: ErrorClass | None = None
    headers: Mapping[str, str] = NO_HEADERS


Provider = Callable[[float, random.Random], Response]
"""Given the time, what happens to an attempt that starts now."""

Steps = Generator[float, float, None]


class Capacity:
    """A provider that serves `places(now)` at a time and refuses the rest at once."""

    def __init__(
        self, places: Callable[[float], float], error: ErrorClass = "overloaded", service_s: float = 1.0
    ) -> None:
        self._places, self._error, self._service_s = places, error, service_s
        self._ends: list[float] = []
        self.served = self.refused = 0

    def __call__(self, now: float, chance: random.Random) -> Response:
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        if len(self._ends) >= self._places(now):
            self.refused += 1
            return Response(0.02, self._error)
        self.served += 1
        lasts = self._service_s * chance.uniform(0.5, 1.5)
        heapq.heappush(self._ends, now + lasts)
        return Response(lasts)


@dataclass
class Request:
    """One request, as it went."""

    at: float
    instance: int
    criticality: Criticality
    attempts: list[tuple[str, ErrorClass | None]] = field(default_factory=list)
    answered_by: str = "template"
    probes: int = 0
    seconds: float = 0.0


class Target:
    def __init__(self, chance: Callable[[], float]) -> None:
        self.breaker, self.gate = Breaker(chance), RateGate(chance)
        self.limiter, self.first = Limiter(), FirstToken()
        for _ in range(20):
            self.first.observe(0.5)


class Fleet:
    """Runs requests until `until_s`, Poisson at `per_s` an instance."""

    def __init__(self, providers: Mapping[str, Provider], seed: int = 14, instances: int = INSTANCES) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.requests: list[Request] = []
        self._providers = providers
        self._order = count()
        self._due: list[tuple[float, int, Steps]] = []
        self._instances = [{name: Target(self.chance.random) for name in providers} for _ in range(instances)]
        self._budgets = [retry_budget.RetryBudget() for _ in range(instances)]

    def run(
        self, until_s: float, per_s: float, criticalities: Mapping[Criticality, float] | None = None
    ) -> list[Request]:
        shares = criticalities or {"critical": 1.0}
        for instance in range(len(self._instances)):
            self._later(0.0, self._arrivals(instance, until_s, per_s, shares))
        self._until_done()
        return self.requests

    def run_in_turns(self, instance: int, requests: int, at_once: int) -> list[Request]:
        """So many requests of one instance by so many workers, each beginning the next when it is done."""
        left = iter(range(requests))

        def worker() -> Steps:
            for _ in left:
                yield from self._request(instance, "critical")

        for _ in range(at_once):
            self._later(0.0, worker())
        self._until_done()
        return self.requests

    def _later(self, at: float, steps: Steps) -> None:
        heapq.heappush(self._due, (at, next(self._order), steps))

    def _until_done(self) -> None:
        while self._due:
            self.now, _, steps = heapq.heappop(self._due)
            wait_s = next(steps, None)
            if wait_s is not None:
                self._later(self.now + wait_s, steps)

    def _arrivals(self, instance: int, until_s: float, per_s: float, shares: Mapping[Criticality, float]) -> Steps:
        names, weights = list(shares), list(shares.values())
        while True:
            yield self.chance.expovariate(per_s)
            if self.now >= until_s:
                return
            self._later(self.now, self._request(instance, self.chance.choices(names, weights)[0]))

    def _request(self, instance: int, criticality: Criticality) -> Steps:
        request = Request(self.now, instance, criticality)
        self.requests.append(request)
        self._budgets[instance].request(self.now, POLICY.retry_budget)
        last = list(self._providers)[-1]
        for name, provider in self._providers.items():
            for attempt in (1, 2):
                error = yield from self._attempt(request, name, provider)
                if error is None:
                    request.answered_by, request.seconds = name, self.now - request.at
                    return
                again = error == "server_error" or (error == "overloaded" and name == last)
                if attempt == 2 or not again or request.attempts[-1:] != [(name, error)]:
                    break
                if not self._budgets[instance].take(self.now, POLICY.retry_budget, len(self._instances)):
                    break
                yield backoff_s(POLICY, error, attempt, self.chance.random())
        request.seconds = self.now - request.at

    def _attempt(self, request: Request, name: str, provider: Provider) -> Generator[float, float, ErrorClass | None]:
        target = self._instances[request.instance][name]
        if target.gate.wait_s(1_000, self.now) > 0:
            return "rate_limited"
        if not target.limiter.acquire(request.criticality):
            return "rate_limited"
        admission = target.breaker.admit(self.now, True)
        if admission == "refused":
            target.limiter.release("unknown")
            return "timeout"
        request.probes += admission == "probe"
        response, limit_s = provider(self.now, self.chance), target.first.limit_s()
        hung = response.after_s is None or response.after_s > limit_s
        error: ErrorClass | None = "timeout" if hung else response.error
        request.attempts.append((name, error))
        yield limit_s if response.after_s is None or hung else response.after_s
        if error is None:
            target.breaker.success(self.now, admission)
            target.first.observe(response.after_s or 0.0)
        else:
            target.breaker.failure(self.now, error, True, admission)
        if hung:
            target.first.observe(limit_s)
        load: Load = "ok" if error is None else "unknown"
        if error in {"overloaded", "rate_limited"}:
            load = "overloaded" if error == "overloaded" or response.headers else "ramp"
        target.limiter.release(load)
        target.gate.observe(response.headers, self.now, WALL + self.now)
        if error == "budget_exhausted":
            target.gate.shut(self.now + SHUT_S, self.now)
        return error
