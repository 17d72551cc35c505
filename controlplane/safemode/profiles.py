"""The profiles that every new environment starts with: safe mode must work before anybody has written one."""

from collections.abc import Mapping

import msgspec

from brownout.model.parse import encode
from brownout.model.resources import Banner, SafeModeProfile
from brownout.wire import Operation

STANDARD: Mapping[str, SafeModeProfile] = {
    "contain": SafeModeProfile(
        description="No tools, cold and short answers, people for what is sensitive: when a model misbehaves.",
        exclude_tools=("*",),
        max_temperature=0.1,
        max_context_tokens=8_000,
        sensitive="human_review",
        serve_safe_variant=("*",),
        banner=Banner(
            text="Some actions are paused while we look into a problem. A colleague will check your request.",
            level="warning",
        ),
    ),
    "shed-load": SafeModeProfile(
        description="Sheddable requests are turned away, nothing is tried twice: when capacity is short.",
        max_attempts=1,
        shed_bp={"sheddable": 10_000, "sheddable_plus": 5_000},
    ),
    "humans-only": SafeModeProfile(
        description="What is sensitive stops, the rest gets small cold answers without tools: when trust is gone.",
        exclude_tools=("*",),
        max_temperature=0.0,
        max_context_tokens=4_000,
        max_output_tokens=256,
        max_attempts=1,
        sensitive="stop",
        serve_safe_variant=("*",),
        banner=Banner(text="Our assistant is mostly switched off while we fix a problem.", level="critical"),
    ),
}


def seed() -> tuple[Operation, ...]:
    """The operations that put them into an empty environment."""
    return tuple(
        Operation("put", "safe_mode_profile", key, msgspec.Raw(encode(profile))) for key, profile in STANDARD.items()
    )
