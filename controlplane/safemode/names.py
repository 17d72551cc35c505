"""Names that match nothing, where they decide what is safe. They are said loudly and never refused. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from brownout.evaluation.safemode import EVERY, normal
from brownout.model.resources import Flag, ResourceRef, SafeModeProfile, Scope
from brownout.model.values import ModelRoute, ToolPolicy
from controlplane.contract.specs import find_spec

_ROUTE, _TOOLS = b'"type":"model_route"', b'"type":"tool_policy"'
_NEAR = 0.75
MAX_WARNINGS = 50


class Known(NamedTuple):
    """The names that an environment uses: those of its model routes and tool policies, and those of what runs."""

    providers: frozenset[str]
    targets: frozenset[str]
    tools: frozenset[str]
    any_tool: bool
    """Some tools are allowed by a glob, or by there being no tool policy: a tool that nobody names may exist."""
    services: frozenset[str] = frozenset()


def known_names(resources: Mapping[ResourceRef, bytes], services: Iterable[str] = ()) -> Known:
    """Only model routes and tool policies are decoded."""
    providers: set[str] = set()
    targets: set[str] = set()
    tools: set[str] = set()
    any_tool, policies = False, 0
    for ref, spec in resources.items():
        if ref.kind != "flag" or not (_ROUTE in spec or _TOOLS in spec):
            continue
        for value in _values(spec):
            if isinstance(value, ModelRoute):
                targets.update(value.targets)
                providers.update(target.provider for target in value.targets.values())
            elif isinstance(value, ToolPolicy):
                policies += 1
                named = {*value.include, *value.exclude, *value.require_approval}
                tools.update(name for name in named if EVERY not in name)
                any_tool = any_tool or any(EVERY in name for name in value.include)
    return Known(
        frozenset(providers), frozenset(targets), frozenset(tools), any_tool or not policies, frozenset(services)
    )


def _values(spec: bytes) -> Iterable[object]:
    flag = find_spec(spec, Flag)
    return flag.variants.values() if flag else ()


def scope_warnings(scope: Scope, known: Known) -> tuple[str, ...]:
    """What of a scope matches nothing: an activation for it changes nothing there."""
    return (
        *_unmatched("provider", scope.providers, known.providers, "No model route uses"),
        *_unmatched("service", scope.services, known.services, "No live instance belongs to"),
    )[:MAX_WARNINGS]


def profile_warnings(profile: SafeModeProfile, known: Known) -> tuple[str, ...]:
    """What of a profile's exclusions matches nothing."""
    return (
        *_unmatched("provider", profile.exclude_providers, known.providers, "No model route uses"),
        *_unmatched("target", profile.exclude_targets, known.targets, "No model route has"),
        *_tools(profile.exclude_tools, known),
    )[:MAX_WARNINGS]


def _unmatched(what: str, names: Iterable[str], known: frozenset[str], nobody: str) -> Iterator[str]:
    forms = {normal(name): name for name in known}
    for name in names:
        if name != EVERY and normal(name) not in forms:
            yield f"{nobody} the {what} “{name}”, so it matches 0 requests.{_meant(name, forms)}"


def _tools(names: Iterable[str], known: Known) -> Iterator[str]:
    forms = {normal(name): name for name in known.tools}
    for name in names:
        if name == EVERY:
            continue
        excludes = ToolPolicy(include=(EVERY,), exclude=(name,))
        if any(not excludes.allows(tool) for tool in known.tools) or (known.any_tool and EVERY in name):
            continue
        meant = _meant(name, forms)
        if meant or not known.any_tool:
            yield f"No tool policy names the tool “{name}”, so it excludes no tool that is known here.{meant}"


def _meant(name: str, forms: Mapping[str, str]) -> str:
    near = get_close_matches(normal(name), forms, n=1, cutoff=_NEAR)
    return f" Did you mean “{forms[near[0]]}”?" if near else ""
