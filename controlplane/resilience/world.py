"""What coverage looks at: request classes and what they name, read from stored specs. Pure.

A newer version may have written any of them: each is read as far as this version understands it, and what it cannot
read at all is listed and left out.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from brownout.model.operating import FailureMode, ServiceTier
from brownout.model.resources import (
    Flag,
    RequestClass,
    ResourceRef,
    ResponseTemplate,
    SafeModeProfile,
    Spec,
)
from controlplane.contract.specs import find_spec

S = TypeVar("S", bound=Spec)

KINDS = frozenset({"request_class", "flag", "response_template", "safe_mode_profile", "failure_mode", "service_tier"})
"""The kinds that decide about coverage."""


class World(msgspec.Struct, frozen=True):
    """By key. `unread` are the resources that this version cannot read."""

    classes: Mapping[str, RequestClass] = {}
    flags: Mapping[str, Flag] = {}
    texts: Mapping[str, str] = {}
    profiles: Mapping[str, SafeModeProfile] = {}
    modes: Mapping[str, FailureMode] = {}
    tiers: Mapping[str, ServiceTier] = {}
    unread: tuple[ResourceRef, ...] = ()

    def tier_of(self, request_class: str) -> ServiceTier | None:
        found = self.classes.get(request_class)
        return self.tiers.get(found.tier) if found and found.tier else None


def world_of(resources: Mapping[ResourceRef, bytes]) -> World:
    """Of all resources only those that a request class can depend on are read."""
    unread: list[ResourceRef] = []

    def of_kind(kind: str, struct: type[S]) -> dict[str, S]:
        return dict(_read(resources, sorted(ref for ref in resources if ref.kind == kind), struct, unread))

    classes = of_kind("request_class", RequestClass)
    named = {ResourceRef("flag", key) for spec in classes.values() for key in _flags(spec)}
    flags = dict(_read(resources, sorted(named & resources.keys()), Flag, unread))
    return World(
        classes,
        flags,
        {key: spec.text for key, spec in of_kind("response_template", ResponseTemplate).items()},
        of_kind("safe_mode_profile", SafeModeProfile),
        of_kind("failure_mode", FailureMode),
        of_kind("service_tier", ServiceTier),
        tuple(unread),
    )


def _read(
    resources: Mapping[ResourceRef, bytes], refs: list[ResourceRef], struct: type[S], unread: list[ResourceRef]
) -> Iterator[tuple[str, S]]:
    for ref in refs:
        spec = find_spec(resources[ref], struct)
        if spec is None:
            unread.append(ref)
        else:
            yield ref.key, spec


def _flags(spec: RequestClass) -> Iterator[str]:
    yield from filter(None, (spec.model, spec.ladder, spec.budget, spec.tools, spec.retry))
