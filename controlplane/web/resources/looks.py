"""How the console speaks of each kind that has the generic list and editor."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from brownout.model.resources import SafeModeProfile
from controlplane.configuration.store.values import Resource
from controlplane.contract.kinds import words
from controlplane.contract.specs import NEWER, is_newer
from controlplane.web.editing.sent import document_of
from controlplane.web.flags.rules import sentence
from controlplane.web.kit.words import plural
from controlplane.web.safe_mode.words import profile_words


def _text(spec: Mapping[str, Any]) -> str:
    return str(spec.get("text", ""))[:200]


def _cohort(spec: Mapping[str, Any]) -> str:
    parts = [
        plural(len(spec["include"]), "unit") + " by name" if spec.get("include") else "",
        *(" and ".join(sentence(clause) for clause in clauses) for clauses in spec.get("any_of", [])),
        f"without {plural(len(spec['exclude']), 'unit')}" if spec.get("exclude") else "",
    ]
    return "; or ".join(part for part in parts if part) or "no one yet"


def _profile(spec: Mapping[str, Any]) -> str:
    return profile_words(msgspec.convert(spec, SafeModeProfile))


def _mode(spec: Mapping[str, Any]) -> str:
    errors = ", ".join(words(error) for error in spec.get("detect", {}).get("errors", []))
    profile = spec.get("profile")
    return f"Shows as {errors}." + (f" Safe mode: {profile}." if profile else "")


def _tier(spec: Mapping[str, Any]) -> str:
    requires = spec.get("requires", {})
    asked = [words(pattern) for pattern in requires.get("patterns", [])]
    asked += ["another provider"] if requires.get("other_provider") else []
    asked += ["full coverage"] if requires.get("covered") else []
    return f"Rank {spec.get('rank')}. " + (f"Requires {', '.join(asked)}." if asked else "Requires nothing.")


class Look(msgspec.Struct, frozen=True):
    """Words for a kind's pages."""

    title: str
    text: str = ""
    """Under the title."""
    empty: str = ""
    """Says what one of them is, where there is none."""
    hints: Mapping[str, str] = {}
    """By field."""
    blank: Mapping[str, Any] = {}
    """What a new one starts with."""
    says: Callable[[Mapping[str, Any]], str] = _text
    """One sentence about a spec."""


_LOOKS = {
    "cohort": Look(
        "Cohorts",
        "Named groups that rules, scopes and rollouts refer to.",
        "A cohort names units one by one, or describes them by what their context says.",
        hints={
            "by": "The attribute that names a unit.",
            "include": "Units that always belong.",
            "exclude": "Units that never do, whatever else holds.",
        },
        says=_cohort,
    ),
    "request_class": Look(
        "Request classes",
        "Kinds of LLM calls, and the flags that govern each.",
        "A request class names a kind of LLM call, how critical it is, and the flags that govern it.",
        hints={"sensitive": "Safe mode can send its requests to people, or stop them."},
        blank={"criticality": "critical", "model": ""},
    ),
    "safe_mode_profile": Look(
        "Safe-mode profiles",
        "What safe mode does, by name.",
        "A profile says what safe mode does: which tools it leaves out, how far it limits tokens.",
        hints={
            "sensitive": "What happens to requests of classes that are marked sensitive.",
            "serve_safe_variant": "Flag keys, or * for every flag that has a safe variant.",
            "exclude_tools": "* for all of them.",
            "max_context_tokens": "Of what goes into a request.",
        },
        says=_profile,
    ),
    "failure_mode": Look(
        "Failure modes",
        "How requests fail, what that costs, and what to do about it.",
        "A failure mode names the errors that show it, what on-call does and what people are told.",
        hints={
            "errors": "The error classes that it causes.",
            "reach": "Which calls fail: those to one model, to all of its provider, or to every model.",
            "classes": "Empty for all request classes.",
            "user": "Which notice of the request class users read.",
            "accepted": "Gaps in coverage that are acceptable.",
        },
        blank={"detect": {"errors": ["server_error"]}},
        says=_mode,
    ),
    "service_tier": Look(
        "Service tiers",
        "What is promised for request classes.",
        "A tier says which resilience patterns its request classes must have.",
        hints={
            "rank": "1 is the highest.",
            "covered": "A commit may not lose a covered cell of these classes.",
            "enforce": "refuse stops a commit that leaves a requirement unmet; warn says so.",
        },
        blank={"rank": 1},
        says=_tier,
    ),
    "response_template": Look(
        "Response templates",
        "Deterministic texts, for the last rung of a ladder.",
        "A template is what users read when no model can answer.",
        blank={"text": ""},
    ),
}


def look_of(kind: str) -> Look:
    """The words of a kind; plain ones where nobody has written better."""
    return _LOOKS.get(kind) or Look(f"{words(kind).capitalize()}s")


def says(kind: str, item: Resource) -> str:
    """One sentence about a resource: its description, and what it does, if this version can say that."""
    spec = document_of(item.spec)
    said = f"{NEWER}." if is_newer(kind, item.spec) else look_of(kind).says(spec)
    description = str(spec.get("description", "")).strip()
    if not description or not said:
        return description or said
    return f"{description} {said}" if description.endswith((".", "!", "?")) else f"{description}: {said}"
