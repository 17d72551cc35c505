"""What a runner is to a guard: code that calls its provider itself gets one attempt, admitted, bounded and recorded."""

from typing import TYPE_CHECKING

from brownout.evaluation.policy import Policy, PolicyTarget
from brownout.runner.calls import Failed
from brownout.runner.health import Permit
from brownout.runner.spending import settled
from brownout.telemetry.attempted import Attempted
from brownout.telemetry.windows import counted, counts

if TYPE_CHECKING:
    from brownout.runner.core import Core
    from brownout.runner.guard import GuardedRequest
    from brownout.runner.watch import Observation
    from brownout.telemetry.ledger import Reservation

LONGEST_S = 600.0


class Guarded:
    """One attempt of a guarded client: what a runner admitted."""

    def __init__(
        self, core: "Core", policy: Policy, target: PolicyTarget, permit: Permit, *,
        asked: "GuardedRequest", tokens: int, began: float, taken: "Reservation | None" = None,
    ) -> None:  # fmt: skip
        self._core, self._policy, self._target, self._permit = core, policy, target, permit
        self._asked, self._tokens, self._began, self._taken = asked, tokens, began, taken
        deadline_ms = policy.ladder.deadline_ms
        self.timeout_s = LONGEST_S if deadline_ms is None else deadline_ms / 1000

    def observe(self, seen: "Observation", now: float) -> None:
        """Takes note of how it went, once."""
        permit, failed, usage = self._permit, seen.failed, seen.usage or (0, 0)
        if failed is not None:
            permit.failed(now, failed, hung=now - self._began >= permit.first_token_s)
        elif seen.left:
            permit.cancel()
        else:
            permit.succeeded(now, seen.first_s, seen.headers, self._asked.characters, seen.usage)
        target, error = self._target, failed.error_class if failed else None
        own = self._policy.model is not None and target.name == self._policy.model.name
        self._settle(seen)
        nothing = error is not None or (seen.left and seen.first_s is None)
        duration_ms, first_ms = (now - self._began) * 1000, None if seen.first_s is None else seen.first_s * 1000
        attempt = Attempted(
            target.name, target.provider, target.model, "answer", error, "", duration_ms, first_ms, seen.usage
        )
        self._core.client.record(
            settled(self._policy), error_class=error, input_tokens=usage[0], output_tokens=usage[1], duration_ms=duration_ms,
            time_to_first_token_ms=first_ms, rung=None if own or nothing else "model",
            answered_by=None if nothing else target.name, attempts=(attempt,),
            completed=None if seen.left else failed is None, refused=error in {"refusal", "content_filter"},
            abandoned=seen.left, prompt_tokens=self._tokens,
        )  # fmt: skip

    def _settle(self, seen: "Observation") -> None:
        window, windows, taken = self._policy.budget.window, self._core.client._windows, self._taken
        if window is None or windows is None or taken is None:
            return
        sent = seen.failed is None or seen.first_s is not None or seen.failed.error_class == "timeout"
        used = None if window.unit == "requests" else counted(window, self._target, seen.usage)
        windows.settle(taken, used if used is not None else taken.amount if sent else 0)


def admit(core: "Core", asked: "GuardedRequest", now: float) -> Guarded | Failed:
    """An attempt at the model that the client asks for, or why there is none. A model that the policy does not name,
    because safe mode excludes it or no one allowed it, is not called."""
    policy = core.client.policy(asked.request_class)
    target = find_target(policy, asked.model)
    if policy.stop or policy.shed:
        return Failed("overloaded", "the policy turns this request away")
    if target is None:
        return Failed("auth", "the policy names no such model now")
    limit, tokens = policy.budget.per_request.max_input_tokens, core.health.tokens(target, asked.characters)
    if limit is not None and tokens > limit:
        return Failed("budget_exhausted", f"the prompt has about {tokens:,} tokens, and the policy allows {limit:,}")
    windows = core.client._windows if counts(policy) else None
    warns = policy.budget.on_exceeded == "warn"
    taken = windows.reserve(policy, target, tokens, force=warns) if windows else None
    if windows is not None and taken is None:
        return Failed("budget_exhausted", "the budget's window has not so much left")
    core.health.request(policy, now)
    permit = core.health.admit(policy, target, now, tokens=tokens, output=asked.max_output_tokens or 0)
    if not isinstance(permit, Permit):
        if windows is not None and taken is not None:
            windows.settle(taken, 0)
        return Failed(permit, "the target takes no requests now")
    return Guarded(core, policy, target, permit, asked=asked, tokens=tokens, began=now, taken=taken)


def find_target(policy: Policy, model: str) -> PolicyTarget | None:
    targets = (policy.model, *(rung.target for rung in policy.ladder.rungs))
    return next((target for target in targets if target is not None and target.model == model), None)
