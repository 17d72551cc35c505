"""How kinds of resources are called in URLs and on the command line."""

PATHS = {
    "flag": "flags",
    "cohort": "cohorts",
    "request_class": "request-classes",
    "safe_mode_profile": "safe-mode-profiles",
    "response_template": "response-templates",
}
"""Kinds that people edit as resources. Activations are made by safe mode alone."""


def words(kind: str) -> str:
    return kind.replace("_", " ")
