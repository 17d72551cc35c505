"""The variant values of the LLM flag types (docs/evaluation.md, "Types")."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

ErrorClass = Literal[
    "rate_limited",
    "timeout",
    "server_error",
    "overloaded",
    "context_window",
    "format_error",
    "refusal",
    "content_filter",
    "filter_unavailable",
    "tool_error",
    "budget_exhausted",
    "auth",
    "bad_request",
    "retrieval_miss",
]
"""The one closed set of ways in which a model call fails."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Count = Annotated[int, Meta(ge=1, le=2**53)]
Milliseconds = Annotated[int, Meta(ge=0, le=86_400_000)]
TimeLimit = Annotated[int, Meta(ge=1, le=86_400_000)]


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything that stands inside a variant."""


class ModelParams(Value, frozen=True):
    """Sampling parameters; None leaves the provider's default."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """The temperature."""
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    """Nucleus sampling."""
    max_output_tokens: Count | None = None
    """The most tokens to generate."""
    seed: int | None = None
    """The seed, for providers that take one."""
    reasoning_effort: Name | None = None
    """The provider's own word for it."""


class Price(Value, frozen=True):
    """What a model's tokens cost, in US dollars per million, as providers publish it."""

    input_usd_per_million: Annotated[float, Meta(ge=0, le=1e6)]
    """A million input tokens."""
    output_usd_per_million: Annotated[float, Meta(ge=0, le=1e6)]
    """A million output tokens."""

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """The cost in millionths of a dollar."""
        return input_tokens * self.input_usd_per_million + output_tokens * self.output_usd_per_million


class Target(Value, frozen=True):
    """One model at one provider."""

    provider: Name
    """The provider, by your own name for it."""
    model: Name
    """The provider's name of the model."""
    params: ModelParams = ModelParams()
    """Sampling parameters."""
    max_context_tokens: Count | None = None
    """The model's context window; None if unknown."""
    first_token_ms: TimeLimit | None = None
    """The longest wait for the first content; None is learned from what the target usually takes."""
    stall_ms: TimeLimit | None = None
    """The longest silence between two pieces of a stream; None is as long as the wait for the first."""
    attempt_ms: TimeLimit | None = None
    """The most time for one attempt; None is what is left of the deadline."""
    price: Price | None = None
    """What its tokens cost. Budget windows in `usd_micros` count with it."""


class ModelRoute(Value, frozen=True):
    """The models a request may go to, by name, and which comes first."""

    targets: dict[Name, Target]
    """The models, by your own names for them."""
    primary: Name
    """The name of the target that comes first."""


Purpose = Literal["answer", "retry", "feedback", "turn", "tell", "restart"]
"""Why an attempt is made: `retry` repeats the turn, `feedback` says what was wrong with the answer, `turn` goes on after
tools, `tell` does so with a tool's error, `restart` begins the conversation again without what the tools returned."""

RungType = Literal["model", "cache", "evidence", "template", "human_review", "later"]
"""`evidence` answers with the sources that came with the request; `later` saves the request and answers it afterwards."""


class Rung(Value, frozen=True):
    """One step of a fallback ladder. An empty `on` means every error class, except that a model rung answers `refusal`
    and `content_filter` only if `on` names them."""

    type: RungType
    """What the rung does."""
    target: Name | None = None
    """For `model`: a target of the route."""
    max_age_s: Count | None = None
    """For `cache`: the oldest response that may be served."""
    template: Name | None = None
    """For `template`, `evidence` and `later`: the key of a response template. Around evidence, `{sources}` stands for
    the sources."""
    max_sources: Count | None = None
    """For `evidence`: the most sources to show."""
    not_after_s: Count | None = None
    """For `later`: how long a saved request is worth answering."""
    queue: Name | None = None
    """For `human_review`: the queue."""
    on: tuple[ErrorClass, ...] = ()
    """The error classes that lead to this rung."""

    def answers(self, error: ErrorClass) -> bool:
        """Whether this rung is tried after `error`."""
        if self.on:
            return error in self.on
        return self.type != "model" or error not in {"refusal", "content_filter"}

    def follows(self, error: ErrorClass) -> bool:
        """Whether the runner tries this rung after `error`: a refusal and filtered content take the ladder's terminal
        action instead of any rung that does not name them."""
        return error in self.on or (error not in {"refusal", "content_filter"} and self.answers(error))

    @property
    def always_succeeds(self) -> bool:
        """Whether nothing after this rung is tried for the errors that it answers."""
        return self.type in {"template", "human_review", "later"}


TerminalAction = Literal["stop", "surface", "human_review", "template"]


class Terminal(Value, frozen=True):
    """What ends a request that no rung handles. `surface` shows the response as it is, `stop` shows nothing, and the
    others use the ladder's own rung of that type."""

    refusal: TerminalAction = "surface"
    """For a refusal by the model."""
    content_filter: TerminalAction = "stop"
    """For a response that the provider's filter blocked."""


class FallbackLadder(Value, frozen=True):
    """What a service tries after an error."""

    rungs: tuple[Rung, ...] = ()
    """Tried in order."""
    terminal: Terminal = Terminal()
    """What happens when no rung handles an error."""
    deadline_ms: Milliseconds | None = None
    """The most time for all attempts together; None is unlimited."""
    on_break: Literal["surface", "restart"] = "surface"
    """After a stream breaks that users have begun to read: show what there is, or start again on the next rung, where
    the service can take back what it showed."""

    def after(self, error: ErrorClass) -> tuple[Rung, ...]:
        """The rungs to try, in order, once a request failed with `error`."""
        return tuple(rung for rung in self.rungs if rung.answers(error))


class PerRequest(Value, frozen=True):
    """Limits of one request; None is unlimited."""

    max_input_tokens: Count | None = None
    """The most input tokens."""
    max_output_tokens: Count | None = None
    """The most output tokens."""


class Window(Value, frozen=True):
    """A limit for a period, counted separately for each combination of the `scope` attributes."""

    unit: Literal["tokens", "requests", "usd_micros"]
    """What is counted."""
    limit: Count
    """The most of them in a period."""
    per: Literal["minute", "hour", "day", "month"]
    """The period."""
    scope: tuple[Name, ...] = ()
    """Attributes that separate the counts; empty is one count for all."""


class TokenBudget(Value, frozen=True):
    """How much a request class may use."""

    per_request: PerRequest = PerRequest()
    """Limits of one request."""
    window: Window | None = None
    """A limit for a period."""
    reserve_cap: Count | None = None
    """The most output tokens that are reserved ahead for one request."""
    on_exceeded: Literal["reject", "fallback", "warn"] = "reject"
    """What the service does beyond the limit."""


class ToolPolicy(Value, frozen=True):
    """Tools by name; `*` stands for any run of characters. An empty `include` allows none; `exclude` wins.

    `exclude` and `require_approval` disregard case, `include` does not.
    """

    include: tuple[Name, ...] = ("*",)
    """Tools that may be used."""
    exclude: tuple[Name, ...] = ()
    """Tools that may not be used."""
    require_approval: tuple[Name, ...] = ()
    """Tools that a person must approve each time."""
    max_calls: Annotated[int, Meta(ge=0, le=2**31)] | None = None
    """The most calls per request; None is unlimited."""

    def allows(self, name: str) -> bool:
        return _any_glob(self.include, name) and not _any_glob_whatever_its_case(self.exclude, name)

    def needs_approval(self, name: str) -> bool:
        return _any_glob_whatever_its_case(self.require_approval, name)


class RetryBudget(Value, frozen=True):
    """Bounds retries: a share of the requests of the last `ttl_s` seconds, and `min_per_s` besides."""

    ratio: Annotated[float, Meta(ge=0, le=1)]
    """Retries per request."""
    min_per_s: Annotated[float, Meta(ge=0)] = 0.0
    """Retries per second that are always allowed."""
    ttl_s: Annotated[float, Meta(gt=0)] = 10.0
    """How many seconds of requests count."""


class RetryPolicy(Value, frozen=True):
    """When and how often a service retries."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 1
    """The most attempts, the first included."""
    initial_backoff_ms: Milliseconds = 100
    """The wait before the first retry."""
    max_backoff_ms: Milliseconds = 10_000
    """The longest wait."""
    retry_after_max_ms: Milliseconds = 2_000
    """The longest wait that a provider can ask for; beyond it the next rung is tried."""
    jitter: Literal["full", "none"] = "full"
    """`full` spreads each wait evenly between 0 and its length."""
    retry_on: tuple[ErrorClass, ...] = ("rate_limited", "timeout", "server_error", "overloaded")
    """Error classes that are retried."""
    retry_budget: RetryBudget | None = None
    """Bounds retries over many requests; None is unbounded."""
    before_first_token_only: bool = True
    """Retries only before the first token of a response has arrived."""
    side_effects: Literal["refuse", "allow"] = "refuse"
    """Whether a request that already ran a tool with side effects may be retried."""


class PromptMessage(Value, frozen=True):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    """Who says it."""
    text: Annotated[str, Meta(min_length=1, max_length=100_000)]
    """The text. `{name}` is replaced by a variable; `{{` and `}}` are braces."""


class Prompt(Value, frozen=True):
    """The messages that come first in every request."""

    messages: Annotated[tuple[PromptMessage, ...], Meta(min_length=1, max_length=50)]
    """The messages, in order."""
    variables: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    """What services must pass. Every placeholder is one of them, and every variant declares the same."""


def _any_glob_whatever_its_case(globs: tuple[str, ...], name: str) -> bool:
    """How restrictions are compared: one must not fail for its spelling."""
    return _any_glob(tuple(map(str.casefold, globs)), name.casefold())


def _any_glob(globs: tuple[str, ...], name: str) -> bool:
    return any(matches_glob(glob, name) for glob in globs)


def matches_glob(glob: str, name: str) -> bool:
    """Whether `name` fits `glob`; `*` is the only wildcard. Linear: parts are found left to right."""
    first, *rest = glob.split("*")
    if not rest:
        return glob == name
    last = rest.pop()
    if not name.startswith(first) or not name.endswith(last) or len(name) < len(first) + len(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in rest:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
