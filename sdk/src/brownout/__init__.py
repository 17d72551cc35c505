"""Ask locally and instantly what your LLM-backed service should do now: flags, policies and safe mode."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_MODULES = {
    "Brownout": "client",
    "BundleError": "errors",
    "ConfigurationError": "errors",
    "Decision": "evaluation.decision",
    "ErrorCode": "evaluation.decision",
    "Reason": "evaluation.decision",
    "Policy": "evaluation.policy",
}
"""Where the names are that do not come from `status`."""


def __getattr__(name: str) -> object:
    """Loads the client with the first name that is used: a tool that reads only the model does not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module("brownout.client")
    found = getattr(import_module(f"brownout.{_MODULES.get(name, 'status')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
