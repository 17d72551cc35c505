"""The profiles that every new environment starts with: safe mode must work before anybody has written one."""

from collections.abc import Mapping

import msgspec

from brownout.model.parse import encode
from brownout.model.resources import Banner, SafeModeProfile
from brownout.wire import Operation

STANDARD: Mapping[str, SafeModeProfile] = {
    "contain": SafeModeProfile(
        description="No tools, cold and short answers, sensitive requests to people: for a model that misbehaves.",
        exclude_tools=("*",),
        max_temperature=0.1,
        max_context_tokens=8_000,
        max_output_tokens=512,
        sensitive="human_review",
        serve_safe_variant=("*",),
        banner=Banner(
            text="Some actions are paused while we look into a problem. A person checks sensitive requests.",
            level="warning",
        ),
    ),
    "shed-load": SafeModeProfile(
        description="Sheddable requests are turned away, half of sheddable plus as well, and nothing is tried twice: "
        "for a lack of capacity.",
        max_attempts=1,
        shed_bp={"sheddable": 10_000, "sheddable_plus": 5_000},
    ),
    "humans-only": SafeModeProfile(
        description="No model answers and no tools run. Sensitive requests go to people; other requests get a template or "
        "a person when their ladder has one, else they stop: for lost trust in every model.",
        exclude_tools=("*",),
        exclude_providers=("*",),
        sensitive="human_review",
        serve_safe_variant=("*",),
        banner=Banner(text="Our assistant is switched off while we fix a problem.", level="critical"),
    ),
}


def seed() -> tuple[Operation, ...]:
    """The operations that put them into an empty environment."""
    return tuple(
        Operation("put", "safe_mode_profile", key, msgspec.Raw(encode(profile))) for key, profile in STANDARD.items()
    )
