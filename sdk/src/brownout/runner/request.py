"""One request: the ladder's state, and all that surrounds it but takes no time. The drivers and the flow share it."""

import logging
import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from brownout.context import Context
from brownout.evaluation.policy import Policy, PolicyTarget
from brownout.model.frozen import FrozenDict
from brownout.model.template import placeholders, render
from brownout.model.values import ModelParams, RungType
from brownout.runner.cache import cache_key
from brownout.runner.calls import Call, Output, ToolCall
from brownout.runner.effects import effect_key
from brownout.runner.estimate import characters
from brownout.runner.ladder import begin, step
from brownout.runner.moves import AnyAction, AnyEvent, Ask, Attempt, Finish
from brownout.runner.options import Options, Suspended
from brownout.runner.people import Ticket
from brownout.runner.prompt import with_prompt
from brownout.runner.record import record
from brownout.runner.reply import Reply
from brownout.runner.spending import Spending
from brownout.runner.state import Facts
from brownout.telemetry.attempted import Attempted

if TYPE_CHECKING:
    from brownout.runner.core import Core
    from brownout.telemetry.tracing import RequestSpan

log = logging.getLogger("brownout.runner")

UNTRACED: AbstractContextManager[None] = nullcontext()
LONGEST_ATTEMPT_S = 600.0
"""What a callable is told where neither the policy nor the target has a limit."""


@lru_cache(256)
def _given_params(params: ModelParams) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in msgspec.structs.asdict(params).items() if value is not None)


class Request:
    """The state of one request, mutable. One thread or task at a time uses it."""

    def __init__(
        self, core: "Core", policy: Policy, context: Context, arguments: tuple[Any, ...], given: Mapping[str, Any], *,
        options: Options, streams: bool, resumed: Suspended | None = None,
    ) -> None:  # fmt: skip
        self.core, self.policy, self.context = core, policy, context
        self.arguments, self.given, self.options = arguments, given, options
        self.own = given
        """What the caller gave, without the policy's prompt."""
        self.streams = streams
        self.id = options.request_id or secrets.token_hex(16)
        self.began_at = core.now()
        self.turns = resumed.turns if resumed else ()
        self.pending = resumed.output if resumed else None
        """The answer of an earlier process of this request, whose tools are to run."""
        self.results: dict[int, Any] = dict(resumed.results) if resumed else {}
        self.approved = resumed.approved if resumed else frozenset()
        self.declined = resumed.declined if resumed else frozenset()
        self.attempts: list[Attempted] = []
        self.output = Output("")
        self.emitted = False
        """Whether the reader has the text of this attempt."""
        self.characters = 0
        self.feedback: str | None = None
        self.done: list[str] = list(resumed.done) if resumed else []
        self.tool_calls = resumed.tool_calls if resumed else 0
        self.ticket: str | None = None
        self.as_of: datetime | None = None
        self.rung_text: str | None = None
        self.first_token_ms: float | None = None
        self.reply: Reply | None = None
        self.span: RequestSpan | None = None
        self.missing: tuple[str, ...] = ()
        """Values that the prompt lacks."""
        if resumed is None:
            self.given, self.missing = with_prompt(policy, given, self._values)
        self._asked = self.given
        """What was asked, before it was trimmed."""
        self.state = begin(policy, self._facts())
        self.spending = Spending(self)
        if resumed is not None:
            self.state = replace(self.state, effects=bool(self.done), turns=len(self.turns))

    def now(self) -> float:
        return self.core.now()

    @property
    def goes_on(self) -> bool:
        """Whether the tools of this turn are being run, or the model is about to be told."""
        action = self.state.action
        return isinstance(action, Attempt) or (isinstance(action, Ask) and action.what == "tools")

    def index_of(self, call: ToolCall) -> int:
        """The position of a tool call in the answer. Raises RuntimeError if it is not one of its calls."""
        tools = self.output.tools if self.goes_on else ()
        for same in (lambda each: each is call, lambda each: each == call):
            for index, each in enumerate(tools):
                if index not in self.results and same(each):
                    return index
        raise RuntimeError(f"the model does not ask for the tool {call.name!r} now")

    def key_of(self, index: int) -> str:
        """The effect key of a tool call: its ordinal counts the same wish in this conversation."""
        call = self.output.tools[index]
        before = [*(each for turn in self.turns for each in turn.tools), *self.output.tools[:index]]
        ordinal = sum(each.name == call.name and each.arguments == call.arguments for each in before)
        return effect_key(self.id, call.name, call.arguments, ordinal)

    def suspended(self, index: int) -> Suspended:
        return Suspended(
            self.policy.request_class, self.context, self.arguments, self.given,
            replace(self.options, request_id=self.id), self.turns, self.output, dict(self.results), index,
            self.approved, self.declined, tuple(self.done), self.tool_calls,
        )  # fmt: skip

    def step(self, event: AnyEvent) -> AnyAction:
        self.state, action = step(self.state, event)
        return action

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline; None without one."""
        ends_at = self.state.ends_at
        return None if ends_at == float("inf") else max(0.0, ends_at - self.now())

    def call(self, action: Attempt, target: PolicyTarget, timeout_s: float) -> Call:
        limits = (self.policy.budget.per_request.max_output_tokens, target.params.max_output_tokens)
        return Call(
            target.name, target.provider, target.model, FrozenDict(_given_params(target.params)), timeout_s,
            min((limit for limit in limits if limit is not None), default=None), self.policy.tools,
            self.feedback if action.purpose == "feedback" else None, self._prompt_version,
            () if action.purpose == "restart" else self.turns,
        )  # fmt: skip

    def fill(self, text: str, **more: object) -> str | None:
        """`text` with its placeholders filled; None, and a line in the log, where one has no value: that is a fault of the
        configuration or the caller, and half a sentence is no answer."""
        values = {**self._values, "done": ", ".join(self.done), **more}
        missing = [name for name in placeholders(text) if values.get(name) is None]
        if missing:
            log.error("%s: no value for the placeholders %s of a text", self.policy.request_class, ", ".join(missing))
            return None
        return render(text, values)

    def ticket_for(self, reason: str, queue: str | None, tool: ToolCall | None = None) -> Ticket:
        return Ticket(
            f"{self.id}-{len(self.turns)}", self.policy.request_class, reason, queue, self.output.text, tuple(self.done),
            tool, self.arguments, self.given, self.context,
        )  # fmt: skip

    def cache_key(self) -> str | None:
        """The key of this request's answer; None where no one can say who may see it."""
        tenant, user = (self._attribute(name) for name in (self.core.tenant, self.core.user))
        return cache_key(
            self.policy.request_class, [self.arguments, self._asked], tenant=tenant, user=user,
            prompt_version=self.options.version + self._prompt_version, locale=self._attribute("locale"), epoch=self.policy.cache_epoch,
            safe_mode=self.policy.safe_mode.profiles,
        )  # fmt: skip

    def _attribute(self, name: str | None) -> str | None:
        if name is None:
            return ""
        value = self.context.get(name)
        return None if value is None else str(value)

    def decide(self, found: Suspended, *, approved: bool) -> None:
        """A person has decided on the call that the request waits for."""
        self.output = found.output
        call, key = found.output.tools[found.waits_for], self.key_of(found.waits_for)
        if approved:
            self.approved |= {key}
        else:
            self.declined |= {key}
            self.results[found.waits_for] = f"A person declined the tool {call.name}."

    def finish(self, action: Finish) -> Reply:
        """Makes the reply, and records how it went."""
        rung, target = self._answered_by(action)
        text = self.rung_text if self.rung_text is not None else self.output.text
        if action.outcome in {"stopped", "shed", "failed", "cancelled"}:
            text = ""
        reply = Reply(
            policy=self.policy, outcome=action.outcome, text=text, rung=rung, target=target, error=action.error,
            provisional=rung in {"cache", "evidence", "later", "human_review"} or action.incomplete, as_of=self.as_of,
            incomplete=action.incomplete, format_ok=action.format_ok, ticket=self.ticket,
            tools=self._open_tools(action), sources=self.options.evidence or (), done=tuple(self.done),
            missing=self.missing, attempts=tuple(self.attempts), usage=self._usage(), duration_ms=(self.now() - self.began_at) * 1000,
        )  # fmt: skip
        self.reply = replace(reply, notice=self._notice(reply))
        with self.span.current() if self.span else UNTRACED:
            record(self, self.reply)
        if self.span:
            self.span.end(
                reply.outcome, error=reply.error, rung=reply.rung, answered_by=reply.answered_by,
                provisional=reply.provisional,
            )  # fmt: skip
        return self.reply

    def _answered_by(self, action: Finish) -> tuple[RungType | None, str | None]:
        if action.outcome in {"stopped", "shed", "failed", "cancelled"}:
            return None, None
        target = self.state.target(-1 if action.rung is None else action.rung)
        if action.rung is not None:
            return self.policy.ladder.rungs[action.rung].type, target.name if target else None
        return "model", target.name if target else None

    def _open_tools(self, action: Finish) -> tuple[ToolCall, ...]:
        if action.outcome != "answered":
            return ()
        return tuple(call for index, call in enumerate(self.output.tools) if index not in self.results)

    def _usage(self) -> tuple[int, int]:
        known = [attempt.usage for attempt in self.attempts if attempt.usage]
        return sum(usage[0] for usage in known), sum(usage[1] for usage in known)

    def _notice(self, reply: Reply) -> str | None:
        notices, banner = self.policy.notices, self.policy.banner
        text = (notices.get(reply.error or "") or notices.get("*")) if reply.degraded else None
        return (self.fill(text) if text else None) or (banner.text if banner else None)

    def _facts(self) -> Facts:
        evidence, limit, trim = (
            self.options.evidence,
            self.policy.budget.per_request.max_input_tokens,
            self.options.trim,
        )
        tokens = self._input_tokens()
        if trim is not None and limit is not None and tokens > limit:
            self.given = FrozenDict(trim(dict(self.given), limit))
            tokens = self._input_tokens()
        return Facts(
            self.began_at, tokens, None if evidence is None else len(evidence), self.streams and self.options.resets,
            bool(self.missing), self.core.resumes,
        )  # fmt: skip

    @property
    def _values(self) -> dict[str, object]:
        return {**self.context, **self.options.values}

    @property
    def _prompt_version(self) -> str:
        return self.policy.prompt.version if self.policy.prompt else ""

    def _input_tokens(self) -> int:
        self.characters = characters(self.arguments) + characters(self.given)
        return self.core.health.tokens(self.policy.model, self.characters)
