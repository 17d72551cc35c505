"""Ask locally and instantly what your LLM-backed service should do now: flags, policies and safe mode."""

from brownout.client import Brownout
from brownout.errors import BundleError, ConfigurationError
from brownout.evaluation.decision import Decision, ErrorCode, Reason
from brownout.evaluation.policy import Policy
from brownout.status import Change, Counters, Held, Source, State, Status, SyncState

__all__ = [
    "Brownout",
    "BundleError",
    "Change",
    "ConfigurationError",
    "Counters",
    "Decision",
    "ErrorCode",
    "Held",
    "Policy",
    "Reason",
    "Source",
    "State",
    "Status",
    "SyncState",
]
