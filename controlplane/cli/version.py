"""`brownout --version`."""

from importlib.metadata import version


def version_line() -> str:
    return f"brownout {version('brownout-controlplane')}"
