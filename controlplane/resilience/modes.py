"""The failure modes that every new environment starts with."""

from collections.abc import Mapping

import msgspec

from brownout.model.operating import Detect, FailureMode, Say
from brownout.model.parse import encode
from brownout.wire import Operation

KIND = "failure_mode"

STANDARD: Mapping[str, FailureMode] = {
    "provider-outage": FailureMode(
        description="A provider is down, overloaded or turns our requests away.",
        detect=Detect(("server_error", "overloaded", "rate_limited", "auth"), "provider"),
        respond="Check the provider's status page. Switch on safe mode for that provider.",
        say=Say(
            support="One of our AI providers has an outage. Answers may be shorter or come later.",
            status="Some AI features are degraded because of an outage at a provider.",
        ),
        escalate="The provider's support, then the owner of the request class",
        expect="Answers come from another provider, the cache or a template",
    ),
    "latency-spike": FailureMode(
        description="Answers take longer than the deadline allows.",
        detect=Detect(("timeout",), "provider"),
        respond="Compare the latency of the models. Shed load if every model is slow.",
        say=Say(support="Answers take longer than usual.", status="AI features respond slowly."),
        escalate="The owner of the request class",
        expect="Answers come from a faster model or the cache",
    ),
    "refusal-surge": FailureMode(
        description="The model refuses requests that it used to answer.",
        detect=Detect(("refusal",), "model"),
        respond="Look for a recent change of the model or the prompt and roll it back.",
        say=Say(support="The assistant declines some requests by mistake.", status="The assistant declines some requests."),
        escalate="The owner of the prompt",
        expect="A person or another model answers",
    ),
    "tool-call-failure": FailureMode(
        description="A tool that the model calls fails.",
        detect=Detect(("tool_error",), "every_model"),
        respond="Exclude the tool by safe mode and tell its owner.",
        say=Say(support="The assistant cannot carry out some actions.", status="Some actions of the assistant fail."),
        escalate="The owner of the tool",
        expect="Answers come without the tool, or from a person",
    ),
    "retrieval-miss": FailureMode(
        description="The search finds no sources for a request that needs them.",
        detect=Detect(("retrieval_miss",), "every_model"),
        respond="Check the index and its latest update.",
        say=Say(
            support="The assistant cannot find some documents.", status="The assistant answers without some documents."
        ),
        escalate="The owner of the index",
        expect="No answer is invented: users read that nothing was found",
    ),
    "parser-breakage": FailureMode(
        description="Answers do not have the form that the service expects.",
        detect=Detect(("format_error",), "model"),
        respond="Look for a recent change of the model, the prompt or the schema and roll it back.",
        say=Say(support="Some answers cannot be shown.", status="Some AI answers cannot be shown."),
        escalate="The owner of the service",
        expect="Another model or a template answers",
    ),
    "content-policy-mismatch": FailureMode(
        description="A content filter blocks harmless requests, or does not run.",
        detect=Detect(("content_filter", "filter_unavailable"), "provider"),
        respond="Compare blocked requests with the policy. Send them to people meanwhile.",
        say=Say(support="Some harmless requests are blocked.", status="Some requests are blocked by mistake."),
        escalate="The owner of the content policy",
        expect="A person or a template answers",
    ),
    "cost-overrun": FailureMode(
        description="A budget is used up.",
        detect=Detect(("budget_exhausted",), "provider"),
        respond="Find the class that spends more than usual. Raise the budget or shed load.",
        say=Say(support="AI features are limited today.", status="AI features are limited."),
        escalate="The owner of the budget",
        expect="Answers come from the cache or a template",
    ),
}  # fmt: skip


def seed(present: frozenset[str] = frozenset()) -> tuple[Operation, ...]:
    """The operations that put those which are not `present` (by key)."""
    return tuple(
        Operation("put", KIND, key, msgspec.Raw(encode(mode))) for key, mode in STANDARD.items() if key not in present
    )
