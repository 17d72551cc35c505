"""What safe mode asks for, as values that join: limits take the minimum, exclusions the union, the rest the strictest.

Joining commutes, associates and is idempotent, so overlapping activations cannot depend on their order and
lifting one never loosens another.
"""

from collections.abc import Iterable
from functools import reduce
from typing import Literal, TypeVar, get_args

import msgspec

from brownout.model.resources import Banner, Criticality, SafeModeActivation, SafeModeProfile, SensitiveAction

EVERY = "*"
"""Among excluded providers or targets: all of them."""

_SEVERITY = {"info": 0, "warning": 1, "critical": 2}
Number = TypeVar("Number", int, float)
_STRICTNESS: tuple[SensitiveAction, ...] = ("continue", "human_review", "stop")


def normal(name: str) -> str:
    """The form in which the names of providers, targets and services are compared: safe mode must not wait for a spelling."""
    return name.strip().casefold()


class Overlay(msgspec.Struct, frozen=True):
    """The joined effect of any number of profiles; the empty one changes nothing."""

    exclude_tools: frozenset[str] = frozenset()
    exclude_targets: frozenset[str] = frozenset()
    exclude_providers: frozenset[str] = frozenset()
    max_temperature: float | None = None
    max_context_tokens: int | None = None
    max_output_tokens: int | None = None
    max_attempts: int | None = None
    sensitive: SensitiveAction = "continue"
    shed_bp: tuple[int, ...] = (0,) * len(get_args(Criticality))
    """In the order of `Criticality`."""
    banner: Banner | None = None

    def excludes(self, target: str, provider: str) -> bool:
        """Whether no request may go to the target of this name, at this provider."""
        if self.excludes_every_model:
            return True
        return normal(target) in self.exclude_targets or normal(provider) in self.exclude_providers

    @property
    def excludes_every_model(self) -> bool:
        return EVERY in self.exclude_targets or EVERY in self.exclude_providers

    @classmethod
    def of(cls, profile: SafeModeProfile) -> "Overlay":
        return cls(
            exclude_tools=frozenset(profile.exclude_tools),
            exclude_targets=frozenset(map(normal, profile.exclude_targets)),
            exclude_providers=frozenset(map(normal, profile.exclude_providers)),
            max_temperature=profile.max_temperature,
            max_context_tokens=profile.max_context_tokens,
            max_output_tokens=profile.max_output_tokens,
            max_attempts=profile.max_attempts,
            sensitive=profile.sensitive,
            shed_bp=tuple(profile.shed_bp.get(criticality, 0) for criticality in get_args(Criticality)),
            banner=profile.banner,
        )

    def join(self, other: "Overlay") -> "Overlay":
        return join((self, other))

    def sheds(self, criticality: Criticality) -> int:
        """The share (basis points) of requests of this criticality to turn away."""
        return self.shed_bp[get_args(Criticality).index(criticality)]


def join(overlays: Iterable[Overlay]) -> Overlay:
    """All of them at once: one pass over what they list, so that a hundred cost a hundred times one."""
    every = (Overlay(), *overlays)
    if len(every) <= 2:
        return every[-1]
    return Overlay(
        exclude_tools=frozenset().union(*(each.exclude_tools for each in every)),
        exclude_targets=frozenset().union(*(each.exclude_targets for each in every)),
        exclude_providers=frozenset().union(*(each.exclude_providers for each in every)),
        max_temperature=reduce(least, (each.max_temperature for each in every)),
        max_context_tokens=reduce(least, (each.max_context_tokens for each in every)),
        max_output_tokens=reduce(least, (each.max_output_tokens for each in every)),
        max_attempts=reduce(least, (each.max_attempts for each in every)),
        sensitive=_STRICTNESS[max(_STRICTNESS.index(each.sensitive) for each in every)],
        shed_bp=tuple(map(max, *(each.shed_bp for each in every))),
        banner=reduce(_louder, (each.banner for each in every)),
    )


Origin = Literal["log", "emergency", "envelope", "host"]
"""Where an activation comes from: a commit, an operator while Postgres is away, a sealed envelope, or the host's owner."""


class Activation(msgspec.Struct, frozen=True):
    """An activation and the profile that it switches on."""

    key: str
    spec: SafeModeActivation
    profile: SafeModeProfile
    overlay: Overlay
    origin: Origin = "log"

    @property
    def ends(self) -> bool:
        """Whether it has an instant at which it ends, or at which it is overdue. The host's own switch has none."""
        return self.origin != "host"

    def covers(self, flag: str) -> bool:
        """Whether its profile serves the safe variant of `flag`, should the flag have one."""
        listed = self.profile.serve_safe_variant
        return "*" in listed or flag in listed

    def in_service(self, service: str) -> bool:
        services = self.spec.scope.services
        return not services or normal(service) in map(normal, services)

    def in_request_class(self, request_class: str) -> bool:
        return not self.spec.scope.request_classes or request_class in self.spec.scope.request_classes

    def at_provider(self, provider: str | None) -> bool:
        providers = self.spec.scope.providers
        return not providers or (provider is not None and normal(provider) in map(normal, providers))

    def for_flags_alone(self) -> bool:
        """Whether it reaches flags of LLM types evaluated alone: a request class is known to policies only."""
        return not self.spec.scope.request_classes

    def for_every_request(self) -> bool:
        """Whether it applies to a flag evaluated alone, outside any request class."""
        return not self.spec.scope.request_classes and not self.spec.scope.providers


def least(one: Number | None, other: Number | None) -> Number | None:
    """The smaller limit, where None is no limit."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _louder(one: Banner | None, other: Banner | None) -> Banner | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda banner: (_SEVERITY[banner.level], banner.text))
