"""The runner obeys a policy: attempts, retries, fallbacks, budgets, one deadline."""

from brownout.runner.calls import Call, Failed, Output, Reason, Text, ToolCall

__all__ = ["Call", "Failed", "Output", "Reason", "Text", "ToolCall"]
