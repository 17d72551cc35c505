"""What a request takes from its budget's window: reserved before each attempt, settled after it."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from brownout.evaluation.policy import Policy, PolicyTarget
from brownout.telemetry.windows import counted, counts

if TYPE_CHECKING:
    from brownout.runner.request import Request
    from brownout.telemetry.ledger import Reservation


class Spending:
    """One request's. An attempt is reserved for and settled before the next one is."""

    def __init__(self, request: "Request") -> None:
        self._request = request
        self._windows = request.core.client._windows if counts(request.policy) else None
        self._taken: Reservation | None = None
        self._input_tokens = 0
        self._counted = False
        """Whether this request was counted, where the window counts requests."""

    def reserve(self, target: PolicyTarget) -> bool:
        """Takes what an attempt may cost; False if the window has not so much left, and the policy does not just warn."""
        request, windows = self._request, self._windows
        if windows is None or (self._counted and _by_request(request.policy)):
            return True
        warned = ("", "budget_exhausted") in request.state.once
        self._input_tokens = request.state.facts.input_tokens or 0
        self._taken = windows.reserve(request.policy, target, self._input_tokens, force=warned)
        return self._taken is not None

    def settle(self, target: PolicyTarget, usage: tuple[int, int] | None, *, sent: bool = False) -> None:
        """Spends what the attempt cost.

        Args:
            usage: Tokens in and out, as the provider counted them; None if it did not.
            sent: Whether the provider has worked on it. If it did not count, what was reserved is spent.
        """
        taken, windows = self._taken, self._windows
        if taken is None or windows is None:
            return
        self._taken = None
        window = self._request.policy.budget.window
        assert window is not None
        if _by_request(self._request.policy):
            self._counted = sent
            windows.settle(taken, taken.amount if sent else 0)
        else:
            used = counted(window, target, usage)
            windows.settle(taken, used if used is not None else taken.amount if sent else 0)


def _by_request(policy: Policy) -> bool:
    return policy.budget.window is not None and policy.budget.window.unit == "requests"


def settled(policy: Policy) -> Policy:
    """`policy` for `client.record`, which spends what is not settled yet."""
    return policy if policy.window is None else replace(policy, window=None)
