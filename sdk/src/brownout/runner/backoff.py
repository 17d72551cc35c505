"""How long to wait before a retry: exponential backoff with full jitter (Brooker, AWS Architecture Blog, 2015)."""

from brownout.model.values import ErrorClass, RetryPolicy

THROTTLED: frozenset[ErrorClass] = frozenset({"rate_limited", "overloaded"})
THROTTLED_MS = 1_000
"""The least base where the provider is short of capacity; elsewhere it is the policy's `initial_backoff_ms`."""


def backoff_s(policy: RetryPolicy, error_class: ErrorClass, attempt: int, chance: float) -> float:
    """Returns the seconds to wait.

    Args:
        attempt: How many attempts have failed: 1 before the first retry.
        chance: A random number from 0 to 1.
    """
    base_ms = max(policy.initial_backoff_ms, THROTTLED_MS) if error_class in THROTTLED else policy.initial_backoff_ms
    full_ms = min(policy.max_backoff_ms, base_ms * 2.0 ** min(max(attempt, 1) - 1, 32))
    return full_ms / 1000 * (chance if policy.jitter == "full" else 1.0)
