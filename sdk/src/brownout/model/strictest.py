"""The safe mode of a host whose owner names a profile that it does not hold: the strictest of the standard profiles."""

from brownout.model.resources import Banner, SafeModeProfile

STRICTEST_KEY = "humans-only"

STRICTEST = SafeModeProfile(
    description="No model answers and no tools run. Sensitive requests go to people; other requests get a template or "
    "a person when their ladder has one, else they stop: for lost trust in every model.",
    exclude_tools=("*",),
    exclude_providers=("*",),
    sensitive="human_review",
    serve_safe_variant=("*",),
    banner=Banner(text="Our assistant is switched off while we fix a problem.", level="critical"),
)
