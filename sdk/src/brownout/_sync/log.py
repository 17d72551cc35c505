"""Where the client speaks: the standard logger `brownout`, and only once about the same thing."""

import logging

log = logging.getLogger("brownout")

_MAX_SAID = 1_000
_said: set[tuple[str, str]] = set()


def first_time(subject: str, kind: str) -> bool:
    """Whether nothing was said about (`subject`, `kind`) in this process so far; it counts as said from now on."""
    if (subject, kind) in _said or len(_said) >= _MAX_SAID:
        return False
    _said.add((subject, kind))
    return True
