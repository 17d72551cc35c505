"""Lines drawn with characters."""

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def spark(values: Sequence[float | None], *, width: int = 40, top: float | None = None) -> str:
    """The last `width` values as bars between their least (or 0, when all are positive) and `top`; gaps are spaces."""
    shown = list(values)[-width:]
    known = [value for value in shown if value is not None]
    if not known:
        return ""
    low = min(0.0, *known)
    high = top if top is not None else max(known)
    span = (high - low) or 1.0
    return "".join(
        " " if value is None else _BARS[max(0, min(len(_BARS) - 1, int((value - low) / span * len(_BARS))))]
        for value in shown
    )
