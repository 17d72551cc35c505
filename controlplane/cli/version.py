"""`brownout --version`."""


def version_line() -> str:
    from importlib.metadata import version

    return f"brownout {version('brownout-controlplane')}"
