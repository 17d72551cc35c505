"""Where the client speaks: the standard logger `brownout`, and only once about the same thing."""

import logging

log = logging.getLogger("brownout")

_MAX_SAID = 1_000
_said: set[tuple[str, str]] = set()


def warn_once(subject: str, kind: str, message: str, *, trace: bool = False) -> None:
    """Logs `message` unless something was logged about (`subject`, `kind`) in this process before."""
    if (subject, kind) in _said or len(_said) >= _MAX_SAID:
        return
    _said.add((subject, kind))
    log.warning("%s", message, exc_info=trace)
