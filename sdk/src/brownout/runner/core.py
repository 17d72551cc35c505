"""What both runners share: their parts, their callables, and how a request begins."""

import inspect
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from brownout._sync import clock
from brownout._sync.chance import spread
from brownout.context import Context, ambient, merged
from brownout.evaluation.policy import Policy
from brownout.model.frozen import FrozenDict
from brownout.runner.cache import Cache
from brownout.runner.calls import Failed
from brownout.runner.drain import Rooms
from brownout.runner.effects import EffectLog, MemoryEffects
from brownout.runner.guarded import Guarded, admit
from brownout.runner.health import Health
from brownout.runner.options import Options, Suspended
from brownout.runner.outbox import Drainable, Outbox
from brownout.runner.people import People
from brownout.runner.request import Request

if TYPE_CHECKING:
    from brownout.client import Brownout
    from brownout.runner.guard import GuardedRequest
    from brownout.runner.judge import Judge

MOST_SUSPENDED = 10_000
OPTIONS = frozenset(field.name for field in msgspec.structs.fields(Options))

_F = TypeVar("_F", bound=Callable[..., Any])


class Calls(dict[str, Callable[..., Any]]):
    """Callables by the provider of a target. Called with a provider, it decorates one."""

    def __init__(self, given: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(given)
        self.restart: set[str] = set()
        """Providers whose callable begins a conversation again."""

    def __call__(self, provider: str, *, resumes: bool = True) -> Callable[[_F], _F]:
        """Registers a callable.

        Args:
            resumes: Whether it goes on from `call.turns`, also from those of another model.
        """

        def register(function: _F) -> _F:
            if not resumes:
                self.restart.add(provider)
            self[provider] = function
            return function

        return register


class Core:
    """A runner without its driver."""

    def __init__(
        self, client: "Brownout", calls: Mapping[str, Callable[..., Any]] | None = None, *, cache: Cache | None = None,
        people: People | None = None, outbox: Outbox | None = None, effects: EffectLog | None = None,
        judge: "Judge | None" = None,
        tenant: str | None = "tenant", user: str | None = "targeting_key",
        now: Callable[[], float] = time.monotonic, wall_s: Callable[[], float] = clock.wall_s,
        chance: Callable[[], float] = spread.random,
    ) -> None:  # fmt: skip
        """
        Args:
            client: Says what to do, and is told how it went.
            calls: What makes one attempt, by the provider of a target.
            cache: Where answers for `cache` rungs are kept.
            people: Where tickets for `human_review` rungs and for approvals go.
            outbox: Where requests for `later` rungs are kept.
            effects: The log of tools with side effects; in memory by default.
            judge: Scores a share of the answers.
            tenant, user: The attributes of the context that say who may see a cached answer; None where the product has no
                tenants, or no users. A request without them is not cached.
            now, wall_s, chance: Monotonic seconds, Unix seconds, and random numbers from 0 to 1.
        """
        self.client = client
        self.calls = Calls(calls or {})
        self.cache, self.people, self.outbox, self.judge = cache, people, outbox, judge
        self.effects = MemoryEffects() if effects is None else effects
        self.tenant, self.user = tenant, user
        self.now, self.wall_s, self.chance = now, wall_s, chance
        self.health = Health(chance, wall_s, lambda: client._fleet)
        self._suspended: dict[str, Suspended] = {}
        self._lock = threading.Lock()

    @property
    def resumes(self) -> frozenset[str]:
        """Providers whose callable goes on from a conversation that another model began."""
        return frozenset(self.calls.keys() - self.calls.restart)

    def admit(self, request: "GuardedRequest", now: float) -> Guarded | Failed:
        """For brownout.runner.guard: an attempt of a client that calls its provider itself."""
        return admit(self, request, now)

    def _rooms(self, request_classes: tuple[str, ...]) -> Rooms:
        """What draining may use of the models that these classes have now; none, if one has none."""
        models = {policy.model for policy in map(self.client.policy, request_classes)}
        return Rooms([] if None in models else [self.health.room(model, self.now) for model in models if model])

    def _drainable(self) -> Drainable:
        if not hasattr(self.outbox, "take"):
            raise TypeError("this runner has no outbox that a service drains itself")
        return cast(Drainable, self.outbox)

    def suspend(self, ticket: str, request: Suspended) -> None:
        with self._lock:
            if len(self._suspended) >= MOST_SUSPENDED:
                del self._suspended[next(iter(self._suspended))]
            self._suspended[ticket] = request

    def begin(
        self, request_class: str, context: Context, arguments: tuple[Any, ...], given: Mapping[str, Any], *,
        streams: bool,
    ) -> Request:  # fmt: skip
        """A request, from what `run` or `stream` was given: options are taken out, the rest is for the callables."""
        options = {name: value for name, value in given.items() if name in OPTIONS}
        if options.get("evidence") is not None:
            options["evidence"] = tuple(options["evidence"])
        rest = FrozenDict({name: value for name, value in given.items() if name not in OPTIONS})
        made = Options(**options)
        policy, seen = self._ask(request_class, context, made.default)
        return Request(self, policy, seen, arguments, rest, options=made, streams=streams)

    def resumed(self, ticket: str, *, approved: bool) -> Request:
        """The suspended request, with a new deadline, today's policy and the same effect log.

        Raises:
            LookupError: no request waits under this name: it was resumed, or belongs to another process.
        """
        with self._lock:
            found = self._suspended.pop(ticket, None)
        if found is None:
            raise LookupError(f"no request waits for the ticket {ticket!r}")
        policy, seen = self._ask(found.request_class, found.context, found.options.default)
        request = Request(
            self, policy, seen, found.arguments, found.given, options=found.options, streams=True, resumed=found
        )
        request.decide(found, approved=approved)
        return request

    def _ask(self, request_class: str, context: Context, default: Policy | None) -> tuple[Policy, Context]:
        around, ask = ambient(), self.client.policy
        policy = ask(request_class, context) if default is None else ask(request_class, context, default)
        return policy, merged(around, context) if around else context


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` returns something to await or to iterate asynchronously."""
    found = inspect.unwrap(function) if hasattr(function, "__wrapped__") else function
    methods = (found, type(found).__call__)
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in methods)


def is_quick(function: Callable[..., Any]) -> bool:
    """Whether `function` never blocks, which its class says by `blocks = False`: it needs no thread."""
    return not getattr(getattr(function, "__self__", function), "blocks", True)
