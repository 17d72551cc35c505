"""Bodies of errors as the providers' own pages and incident reports show them, and what each means."""

from brownout.model.values import ErrorClass


def openai_error(message: str, kind: str | None, code: str | None, **more: object) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def claude_error(kind: str, message: str, **more: object) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"}


QUOTA = "You exceeded your current quota, please check your plan and billing details."
FILTERED = {
    "code": "ResponsibleAIPolicyViolation",
    "content_filter_result": {"hate": {"filtered": True, "severity": "high"}, "violence": {"filtered": False}},
}
BODIES: list[tuple[int, object, ErrorClass, str | None]] = [
    # OpenAI
    (500, openai_error("The server had an error while processing your request", "server_error", None), "server_error", None),
    (503, openai_error("That model is currently overloaded with other requests.", "server_error", None), "overloaded", None),
    (503, openai_error("Service unavailable.", "server_error", None), "overloaded", None),
    (429, openai_error("Rate limit reached for gpt-5 on requests per min", "requests", "rate_limit_exceeded"), "rate_limited", None),
    (429, openai_error("Rate limit reached for gpt-5 on tokens per min", "tokens", "rate_limit_exceeded"), "rate_limited", None),
    (429, openai_error("Reduce your request rate.", "rate_limit_error", "slow_down"), "rate_limited", "ramp"),
    (503, openai_error("Slow Down", "server_error", "slow_down"), "rate_limited", "ramp"),
    (429, openai_error(QUOTA, "insufficient_quota", "insufficient_quota"), "budget_exhausted", None),
    (429, openai_error(QUOTA, "insufficient_quota", "credit_balance_exhausted"), "budget_exhausted", None),
    (429, openai_error("…", "insufficient_quota", "project_spend_limit_exceeded"), "budget_exhausted", None),
    (429, openai_error("…", None, "organization_spend_limit_exceeded"), "budget_exhausted", None),
    (429, openai_error("…", None, "organization_usage_limit_exceeded"), "budget_exhausted", None),
    (429, openai_error("Your account is not active", "billing_not_active", "billing_not_active"), "budget_exhausted", None),
    (401, openai_error("Incorrect API key provided: sk-***.", "invalid_request_error", "invalid_api_key"), "auth", None),
    (401, openai_error("You must be a member of an organization", "invalid_request_error", None), "auth", None),
    (403, openai_error("Country not supported", "request_forbidden", "unsupported_country_region_territory"), "auth", None),
    (404, openai_error("The model `gpt-9` does not exist", "invalid_request_error", "model_not_found"), "auth", None),
    (400, openai_error("The requested model 'gpt-9' does not exist.", "invalid_request_error", "model_not_found"), "auth", None),
    (400, openai_error("This model's maximum context length is 8192 tokens.", "invalid_request_error", "context_length_exceeded"),
     "context_window", None),
    (400, openai_error("This model's maximum context length is 8192 tokens, however you requested 9000.", "BadRequestError", None),
     "context_window", None),
    (429, openai_error("Request too large for gpt-5 on tokens per min (TPM): Limit 30000, Requested 90000.", "tokens", "rate_limit_exceeded"),
     "context_window", None),
    (400, openai_error("Invalid type for 'messages'.", "invalid_request_error", "invalid_type"), "bad_request", None),
    (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "bad_request", None),
    (400, openai_error("Unsupported parameter: 'temperature' is not supported with this model.", "invalid_request_error", "unsupported_parameter"),
     "bad_request", "unsupported"),
    (400, openai_error("Unsupported value: 'temperature' does not support 0.2 with this model.", "invalid_request_error", "unsupported_value"),
     "bad_request", "unsupported"),
    (400, openai_error("max_tokens is too large: 99999. This model supports at most 16384 completion tokens.", "invalid_request_error", None),
     "bad_request", "unsupported"),
    (400, openai_error("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_request_error", "invalid_prompt"),
     "content_filter", None),
    # Azure
    (400, openai_error("The response was filtered", None, "content_filter", status=400, innererror=FILTERED), "content_filter", None),
    (400, openai_error("The response was filtered due to … Azure OpenAI's content management policy.", None, None), "content_filter", None),
    (404, openai_error("The API deployment for this resource does not exist.", None, "DeploymentNotFound"), "auth", None),
    (429, openai_error("The system is currently experiencing high demand.", None, "429"), "overloaded", None),
    # Anthropic
    (529, claude_error("overloaded_error", "Overloaded"), "overloaded", None),
    (500, claude_error("api_error", "Internal server error"), "server_error", None),
    (504, claude_error("timeout_error", "Request timed out"), "timeout", "gateway"),
    (429, claude_error("rate_limit_error", "This request would exceed your organization's rate limit"), "rate_limited", None),
    (429, claude_error("rate_limit_error", "… because of acceleration limits"), "rate_limited", "ramp"),
    (429, claude_error("rate_limit_error", "…", details={"error_code": "enforced_spend_limit_reached"}), "budget_exhausted", None),
    (400, claude_error("invalid_request_error", "You have reached your specified API usage limits. You will regain access on …"),
     "budget_exhausted", None),
    (400, claude_error("invalid_request_error", "Your credit balance is too low to access the Anthropic API."), "budget_exhausted", None),
    (402, claude_error("billing_error", "There is an issue with your billing"), "budget_exhausted", None),
    (401, claude_error("authentication_error", "invalid x-api-key"), "auth", None),
    (403, claude_error("permission_error", "…"), "auth", None),
    (404, claude_error("not_found_error", "model: claude-9"), "auth", None),
    (400, claude_error("invalid_request_error", "prompt is too long: 216341 tokens > 200000 maximum"), "context_window", None),
    (400, claude_error("invalid_request_error", "input length and `max_tokens` exceed context limit: 199000 + 9000 > 200000"),
     "context_window", None),
    (413, claude_error("request_too_large", "Request exceeds the maximum size"), "context_window", None),
    (400, claude_error("invalid_request_error", "messages: at least one message is required"), "bad_request", None),
    (400, claude_error("invalid_request_error", "max_tokens: 99999 > 8192, which is the maximum allowed number of output tokens for …"),
     "bad_request", "unsupported"),
    (400, claude_error("invalid_request_error", "Output blocked by content filtering policy"), "content_filter", None),
    # Others that speak one of these languages
    (429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": QUOTA}}, "rate_limited", None),
    (503, {"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}}, "overloaded", None),
    (400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "…", "details": [{"reason": "API_KEY_INVALID"}]}}, "auth", None),
    (400, {"message": "Input is too long for requested model.", "__type": "com.amazon#ValidationException"}, "context_window", None),
    (429, {"message": "Too many requests", "__type": "com.amazon#ThrottlingException"}, "rate_limited", None),
    (404, {"error": "model 'llama9' not found"}, "auth", None),
    (403, {"error": {"code": 403, "message": "Your input was flagged"}}, "content_filter", None),
    # No body to speak of: the status decides
    (500, "<html>Internal error</html>", "server_error", None),
    (502, None, "server_error", None), (503, b"", "overloaded", None), (504, None, "timeout", "gateway"),
    (408, None, "timeout", "gateway"), (409, {}, "server_error", None), (429, {}, "rate_limited", None),
    (530, "error code: 1033", "server_error", None), (529, None, "overloaded", None), (400, [], "bad_request", None),
    (401, None, "auth", None), (418, None, "bad_request", None),
]  # fmt: skip
