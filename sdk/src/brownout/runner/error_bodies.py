"""What providers write into the bodies of their errors, and what it means.

Sources: the error pages of OpenAI (developers.openai.com/api/docs/guides/error-codes), Anthropic
(platform.claude.com/docs/en/api/errors), Azure OpenAI (content filtering), Bedrock and Gemini, read in 2026.
"""

import re

from brownout.model.values import ErrorClass
from brownout.runner.calls import Reason

Meaning = tuple[ErrorClass, Reason | None]


def _table(rows: dict[Meaning, str]) -> dict[str, Meaning]:
    return {code: meaning for meaning, codes in rows.items() for code in codes.split()}


EXACT = _table({
    ("content_filter", None): """content_filter content_filtered responsibleaipolicyviolation content_policy_violation
        image_content_policy_violation bio_policy cyber_policy misalignment_policy_violation data_inspection_failed
        moderation_blocked prohibited_content safety""",
    ("filter_unavailable", None): "content_filter_error",
    ("budget_exhausted", None): """insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded
        project_spend_limit_exceeded organization_usage_limit_exceeded billing_hard_limit_reached billing_not_active
        billing_error enforced_spend_limit_reached spend_limit_exceeded budget_exhausted insufficient_balance""",
    ("context_window", None): """context_length_exceeded string_above_max_length request_too_large
        tokens_limit_reached model_max_prompt_tokens_exceeded""",
    ("rate_limited", "ramp"): "slow_down slowdown",
    ("bad_request", "unsupported"): """unsupported_parameter unsupported_value unsupported_model model_not_supported
        unsupported_image_media_type""",
    ("auth", None): """invalid_api_key api_key_invalid model_not_found deploymentnotfound account_deactivated invalid_organization
        unsupported_country_region_territory ip_not_authorized accessdeniedexception unrecognizedclientexception
        expiredtokenexception unauthenticated permission_denied""",
    ("overloaded", None): """overloaded_error overloaded engine_overloaded server_overloaded model_overloaded
        service_unavailable serviceunavailable serviceunavailableexception unavailable modelnotreadyexception""",
    ("rate_limited", None): "throttlingexception toomanyrequestsexception resource_exhausted",
    ("timeout", "gateway"): "timeout_error deadline_exceeded modeltimeoutexception vector_store_timeout",
    ("server_error", None): "modelerrorexception modelstreamerrorexception internalserverexception",
})  # fmt: skip
"""By `code`, `type`, `status`, `error_code` and the inner code, in lower case. The first row that has one decides."""

PATTERNS: tuple[tuple[str, Meaning], ...] = (
    (r"content management policy|content filtering policy|flagged as potentially violating"
     r"|(input|prompt|request) (was|has been) flagged",
     ("content_filter", None)),
    (r"credit balance is too low|specified (workspace )?api usage limits|out of extra usage|monthly spend limit"
     r"|exceeded your current quota|insufficient (credits|balance|funds)", ("budget_exhausted", None)),
    (r"maximum context length|(prompt|input) is too long|exceed(s|ed)? (the )?(model's )?context (window|limit)"
     r"|request too large for|maximum number of (input )?tokens allowed|reduce the length of (the|your) (messages|prompt|input)",
     ("context_window", None)),
    (r"acceleration limit", ("rate_limited", "ramp")),
    (r"unsupported (parameter|value)|not supported (with|by|for) (this|the) model|model .{0,100}does not support"
     r"|extra inputs are not permitted|unrecognized request argument|max_(completion_|output_)?tokens is too large"
     r"|maximum allowed number of output tokens|cannot both be specified for this model",
     ("bad_request", "unsupported")),
    (r"incorrect api key|invalid api key|model .{0,100}does not exist", ("auth", None)),
    (r"\boverloaded\b|experiencing high demand|\bat capacity\b", ("overloaded", None)),
)  # fmt: skip
"""By the message, where no code decides: providers give several causes the same code."""

WORDS = tuple((re.compile(pattern, re.IGNORECASE), meaning) for pattern, meaning in PATTERNS)

GENERIC = _table({
    ("rate_limited", None): "rate_limit_error rate_limit_exceeded rate_limit_reached too_many_requests tokens requests",
    ("auth", None): "authentication_error permission_error not_found_error",
    ("bad_request", None): "invalid_request_error invalid_argument validationexception invalid_prompt",
    ("server_error", None): "api_error server_error internal_error internal internal_server_error conflict_error",
})  # fmt: skip
"""Codes that say less than most statuses do; they decide after `STATUSES`."""

STATUSES: dict[int, Meaning] = {
    401: ("auth", None), 402: ("budget_exhausted", None), 403: ("auth", None), 404: ("auth", None),
    407: ("auth", None), 408: ("timeout", "gateway"), 409: ("server_error", None), 413: ("context_window", None),
    424: ("server_error", None), 425: ("server_error", None), 429: ("rate_limited", None), 503: ("overloaded", None),
    504: ("timeout", "gateway"), 524: ("timeout", "gateway"), 529: ("overloaded", None),
}  # fmt: skip


def of_status(status: int) -> Meaning | None:
    """Returns what a status alone says; None for one that is no error."""
    if status in STATUSES:
        return STATUSES[status]
    if 400 <= status <= 499:
        return "bad_request", None
    return ("server_error", None) if 500 <= status <= 599 else None
