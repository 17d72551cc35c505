"""A policy's prompt stands before the messages that a service passes."""

import logging
from collections.abc import Mapping
from typing import Any

from brownout.evaluation.policy import Policy
from brownout.model.frozen import FrozenDict

log = logging.getLogger("brownout.runner")


def with_prompt(
    policy: Policy, given: Mapping[str, Any], values: Mapping[str, object]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """What the callables are given, and the values that the prompt lacks. With one missing, nothing is changed."""
    prompt = policy.prompt
    if prompt is None:
        return given, ()
    if missing := prompt.missing(values):
        log.error("%s: no value for %s of the prompt", policy.request_class, ", ".join(missing))
        return given, missing
    return FrozenDict({**given, "messages": [*prompt.render(values), *given.get("messages", ())]}), ()
