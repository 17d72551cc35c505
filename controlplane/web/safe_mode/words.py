"""Safe mode in plain words: what a profile does, as cards and dialogs say it. Pure."""

from brownout.model.resources import SafeModeProfile
from controlplane.web.kit.words import basis_points, plural, short, words

SENSITIVE = {"continue": "", "human_review": "sensitive → a person", "stop": "sensitive stops"}


def profile_words(profile: SafeModeProfile) -> str:
    """No tools · temperature ≤ 0.1 · context ≤ 8 k tokens · sensitive → a person."""
    parts = [
        _without("tools", profile.exclude_tools),
        *_models(profile),
        "" if profile.max_temperature is None else f"temperature ≤ {profile.max_temperature:g}",
        "" if profile.max_context_tokens is None else f"context ≤ {short(profile.max_context_tokens)} tokens",
        "" if profile.max_output_tokens is None else f"output ≤ {short(profile.max_output_tokens)} tokens",
        "" if profile.max_attempts is None else plural(profile.max_attempts, "attempt"),
        SENSITIVE[profile.sensitive],
        *(f"{words(criticality)} {basis_points(bp)} turned away" for criticality, bp in profile.shed_bp.items() if bp),
        _safe_variants(profile.serve_safe_variant),
    ]
    said = " · ".join(part for part in parts if part)
    return said[:1].upper() + said[1:] if said else "Changes nothing yet"


def _models(profile: SafeModeProfile) -> tuple[str, ...]:
    if "*" in (*profile.exclude_targets, *profile.exclude_providers):
        return ("no model answers",)
    return (_without("targets", profile.exclude_targets), _without("providers", profile.exclude_providers))


def _without(what: str, names: tuple[str, ...]) -> str:
    if not names:
        return ""
    return f"no {what}" if "*" in names else f"without {', '.join(names)}"


def _safe_variants(flags: tuple[str, ...]) -> str:
    if not flags:
        return ""
    return "safe variants" if "*" in flags else f"safe variant of {', '.join(flags)}"
