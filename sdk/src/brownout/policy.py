"""The composed answer for one kind of LLM call, as `client.policy` returns it."""

from brownout.evaluation.evaluate import policy
from brownout.evaluation.policy import Policy, PolicyLadder, PolicyRung, PolicyTarget, SafeMode

__all__ = ["Policy", "PolicyLadder", "PolicyRung", "PolicyTarget", "SafeMode", "policy"]
