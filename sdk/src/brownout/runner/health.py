"""What this process knows of its targets: whether an attempt may start, how long to wait for it, what each one teaches."""

import threading
from collections.abc import Callable, Mapping

from brownout.evaluation.policy import Policy, PolicyTarget
from brownout.model.values import ErrorClass
from brownout.runner.breaker import Admission, Breaker
from brownout.runner.calls import Failed
from brownout.runner.drain import Room
from brownout.runner.estimate import Estimate
from brownout.runner.latency import FirstToken
from brownout.runner.limiter import Limiter, Outcome
from brownout.runner.rate_gate import SHUT_S, RateGate
from brownout.runner.retry_budget import RetryBudget

_SHUTS: frozenset[ErrorClass] = frozenset({"auth", "budget_exhausted"})
"""What a target says once and means for a while."""
MOST_TARGETS = 1_000


class _Target:
    """What is known of one target: one model at one provider."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self.breaker = Breaker(chance)
        self.gate = RateGate(chance)
        self.limiter = Limiter()
        self.first_token = FirstToken()
        self.estimate = Estimate()
        self.room: Room | None = None


class Permit:
    """An attempt that may start. Exactly one of `succeeded`, `failed` and `cancel` follows."""

    def __init__(self, target: _Target, admission: Admission, wall_s: Callable[[], float]) -> None:
        self._target, self._wall_s = target, wall_s
        self._admission: Admission = admission
        self.first_token_s = target.first_token.limit_s()

    def succeeded(
        self,
        now: float,
        first_s: float | None,
        headers: Mapping[str, str],
        characters: int,
        usage: tuple[int, int] | None,
    ) -> None:
        target = self._target
        target.breaker.success(now, self._admission)
        target.limiter.release("ok")
        if headers:
            target.gate.observe(headers, now, self._wall_s())
        if first_s is not None:
            target.first_token.observe(first_s)
        if usage is not None and characters:
            target.estimate.learn(characters, usage[0])

    def failed(self, now: float, failed: Failed, *, hung: bool) -> None:
        """`hung`: the attempt had as long as the target itself is given, and not less by a caller in a hurry."""
        target, error = self._target, failed.error_class
        # a gateway that gives up has waited as long as it waits for anyone
        target.breaker.failure(now, error, hung or failed.reason == "gateway", self._admission)
        outcome: Outcome = "unknown"
        if error in {"rate_limited", "overloaded"}:
            outcome = "ramp" if failed.reason == "ramp" else "overloaded"
        target.limiter.release(outcome)
        if failed.headers:
            target.gate.observe(failed.headers, now, self._wall_s())
        if error in _SHUTS:
            target.gate.shut(now + (failed.retry_after_s or SHUT_S), now)
        elif error == "rate_limited" and failed.retry_after_s is not None:
            target.gate.shut(now + failed.retry_after_s, now)
        if error == "timeout" and hung and failed.reason != "gateway":
            target.first_token.observe(self.first_token_s)

    def cancel(self) -> None:
        """The attempt ended for reasons that say nothing of the target."""
        self._target.breaker.abandoned(self._admission)
        self._target.limiter.release("unknown")


class Health:
    """All targets of one runner. Safe for threads."""

    def __init__(
        self,
        chance: Callable[[], float],
        wall_s: Callable[[], float],
        fleet: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`fleet` returns how many instances share a retry budget's `min_per_s`; None if that is unknown."""
        self._chance, self._wall_s, self._fleet = chance, wall_s, fleet
        self._lock = threading.Lock()
        self._targets: dict[tuple[str, str, str], _Target] = {}
        self._budgets: dict[str, RetryBudget] = {}

    def admit(
        self,
        policy: Policy,
        target: PolicyTarget,
        now: float,
        *,
        tokens: int = 0,
        output: int = 0,
        spare: bool = False,
        again: bool = False,
    ) -> Permit | ErrorClass:
        """An attempt at `target`, or why there is none now.

        Args:
            tokens: Of the prompt, estimated.
            output: The most tokens that may be generated.
            spare: Whether another rung answers if this attempt fails.
            again: The request has waited as the provider asked, so the gate that this shut is not asked.
        """
        known = self._known(target)
        if not again and known.gate.wait_s(tokens, now, output) > 0:
            return "rate_limited"
        if not known.limiter.acquire(policy.criticality):
            return "overloaded"
        admission = known.breaker.admit(now, spare)
        if admission == "refused":
            known.limiter.release("unknown")
            return "overloaded"
        return Permit(known, admission, self._wall_s)

    def request(self, policy: Policy, now: float) -> None:
        """Counts a request, which earns a share of a retry."""
        if policy.retry.retry_budget is not None:
            self._budget(policy).request(now, policy.retry.retry_budget)

    def retry(self, policy: Policy, now: float) -> bool:
        """Takes a token for one retry; False if there is none."""
        if policy.retry.retry_budget is None:
            return True
        return self._budget(policy).take(now, policy.retry.retry_budget, self._fleet())

    def tokens(self, target: PolicyTarget | None, characters: int) -> int:
        """The estimated tokens of so many characters."""
        return (self._known(target).estimate if target else Estimate()).tokens(characters)

    def room(self, target: PolicyTarget, now: Callable[[], float]) -> Room:
        """What draining an outbox may use of a target."""
        known = self._known(target)
        with self._lock:
            if known.room is None:
                known.room = Room(known.breaker, known.limiter, now)
            return known.room

    def _budget(self, policy: Policy) -> RetryBudget:
        with self._lock:
            return self._budgets.setdefault(policy.request_class, RetryBudget())

    def _known(self, target: PolicyTarget) -> _Target:
        key = (target.name, target.provider, target.model)
        found = self._targets.get(key)
        if found is None:
            with self._lock:
                if len(self._targets) >= MOST_TARGETS:
                    self._targets.clear()
                found = self._targets.setdefault(key, _Target(self._chance))
        return found
