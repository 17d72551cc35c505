"""The profiles that every new environment starts with: safe mode must work before anybody has written one."""

from collections.abc import Mapping

import msgspec

from brownout.model import Banner, SafeModeProfile
from brownout.parse import encode
from brownout.wire import Operation

STANDARD: Mapping[str, SafeModeProfile] = {
    "cautious": SafeModeProfile(
        description="Predictable answers, fewer attempts: when quality looks wrong and nobody knows why yet.",
        max_temperature=0.2,
        max_output_tokens=1024,
        max_attempts=2,
        serve_safe_variant=("*",),
    ),
    "strict": SafeModeProfile(
        description="No tools, short answers, people for what is sensitive: when a model misbehaves.",
        exclude_tools=("*",),
        max_temperature=0.1,
        max_context_tokens=8_000,
        max_output_tokens=512,
        max_attempts=1,
        sensitive="human_review",
        serve_safe_variant=("*",),
        banner=Banner(text="We are running with reduced features while we fix a problem.", level="warning"),
    ),
    "lockdown": SafeModeProfile(
        description="Only what must work: sheddable traffic is turned away, sensitive requests stop.",
        exclude_tools=("*",),
        max_temperature=0.0,
        max_context_tokens=4_000,
        max_output_tokens=256,
        max_attempts=1,
        sensitive="stop",
        serve_safe_variant=("*",),
        shed_bp={"sheddable": 10_000, "sheddable_plus": 5_000},
        banner=Banner(text="Most of our assistant is switched off while we fix a problem.", level="critical"),
    ),
}


def seed() -> tuple[Operation, ...]:
    """The operations that put them into an empty environment."""
    return tuple(
        Operation("put", "safe_mode_profile", key, msgspec.Raw(encode(profile))) for key, profile in STANDARD.items()
    )
