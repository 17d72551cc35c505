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
]
"""The one closed set of ways in which a model call fails."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Count = Annotated[int, Meta(ge=1, le=2**53)]
Milliseconds = Annotated[int, Meta(ge=0, le=86_400_000)]


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything that stands inside a variant."""


class ModelParams(Value, frozen=True):
    """Sampling parameters; None leaves the provider's default."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    max_output_tokens: Count | None = None
    seed: int | None = None
    reasoning_effort: Name | None = None


class Target(Value, frozen=True):
    """One model at one provider. `max_context_tokens` is its window, None when unknown."""

    provider: Name
    model: Name
    params: ModelParams = ModelParams()
    max_context_tokens: Count | None = None


class ModelRoute(Value, frozen=True):
    """The models a request may go to, by name, and which comes first."""

    targets: dict[Name, Target]
    primary: Name


class Rung(Value, frozen=True):
    """One step down. An empty `on` answers every error class, except that a model rung never answers
    `refusal` or `content_filter` unless it names them."""

    type: Literal["model", "cache", "template", "human_review"]
    target: Name | None = None
    max_age_s: Count | None = None
    template: Name | None = None
    queue: Name | None = None
    on: tuple[ErrorClass, ...] = ()

    def answers(self, error: ErrorClass) -> bool:
        """Whether this rung is tried after `error`."""
        if self.on:
            return error in self.on
        return self.type != "model" or error not in {"refusal", "content_filter"}


TerminalAction = Literal["stop", "surface", "human_review", "template"]


class Terminal(Value, frozen=True):
    """What ends a request that no rung answers: show it as it is, stop, or the ladder's own such rung."""

    refusal: TerminalAction = "surface"
    content_filter: TerminalAction = "stop"


class FallbackLadder(Value, frozen=True):
    """Rungs in the order they are tried; flat, so a cycle cannot be written."""

    rungs: tuple[Rung, ...] = ()
    terminal: Terminal = Terminal()
    deadline_ms: Milliseconds | None = None

    def after(self, error: ErrorClass) -> tuple[Rung, ...]:
        """The rungs to try, in order, once a request failed with `error`."""
        return tuple(rung for rung in self.rungs if rung.answers(error))


class PerRequest(Value, frozen=True):
    max_input_tokens: Count | None = None
    max_output_tokens: Count | None = None


class Window(Value, frozen=True):
    """`limit` units per period, counted separately for each combination of the `scope` attributes."""

    unit: Literal["tokens", "requests", "usd_micros"]
    limit: Count
    per: Literal["minute", "hour", "day", "month"]
    scope: tuple[Name, ...] = ()


class TokenBudget(Value, frozen=True):
    per_request: PerRequest = PerRequest()
    window: Window | None = None
    reserve_cap: Count | None = None
    """The most output tokens reserved ahead for one request."""
    on_exceeded: Literal["reject", "fallback", "warn"] = "reject"


class ToolPolicy(Value, frozen=True):
    """Tools by name; `*` stands for any run of characters. An empty `include` allows none; `exclude` wins.

    `exclude` and `require_approval` disregard case, `include` does not.
    """

    include: tuple[Name, ...] = ("*",)
    exclude: tuple[Name, ...] = ()
    require_approval: tuple[Name, ...] = ()
    max_calls: Annotated[int, Meta(ge=0, le=2**31)] | None = None

    def allows(self, name: str) -> bool:
        return _any_glob(self.include, name) and not _any_glob_whatever_its_case(self.exclude, name)

    def needs_approval(self, name: str) -> bool:
        return _any_glob_whatever_its_case(self.require_approval, name)


class RetryBudget(Value, frozen=True):
    """Retries may be `ratio` of the requests of the last `ttl_s` seconds, and `min_per_s` besides."""

    ratio: Annotated[float, Meta(ge=0, le=1)]
    min_per_s: Annotated[float, Meta(ge=0)] = 0.0
    ttl_s: Annotated[float, Meta(gt=0)] = 10.0


class RetryPolicy(Value, frozen=True):
    """`max_attempts` counts the first try."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 1
    initial_backoff_ms: Milliseconds = 100
    max_backoff_ms: Milliseconds = 10_000
    jitter: Literal["full", "none"] = "full"
    retry_on: tuple[ErrorClass, ...] = ("rate_limited", "timeout", "server_error", "overloaded")
    retry_budget: RetryBudget | None = None
    before_first_token_only: bool = True
    side_effects: Literal["refuse", "allow"] = "refuse"
    """Whether a request that already ran a tool with side effects may be retried."""


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
