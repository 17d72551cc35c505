"""What a response's headers say of rate limits. Whatever a proxy or a provider writes there, the result is bounded.

Names are lower-case. OpenAI counts down ("6m0s", "20ms"), Azure in plain seconds, Anthropic to an instant (RFC 3339).
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

LONGEST_S = 3_600.0
"""Longer waits are cut: after this time one attempt shows whether the limit still holds."""
_LARGEST = 1e12
_MOST_CHARACTERS = 64
_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{0,9})?", re.ASCII)
_SPAN = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(ms|[dhms])", re.ASCII)

Kind = Literal["requests", "tokens", "input-tokens", "output-tokens"]
KINDS: tuple[Kind, ...] = ("requests", "tokens", "input-tokens", "output-tokens")


class Limit(NamedTuple):
    """So much is left for so many seconds."""

    remaining: float
    resets_in_s: float


def retry_after_s(headers: Mapping[str, str], wall_s: float) -> float | None:
    """Returns the seconds to wait that the provider asks for; None if it does not.

    Source: RFC 9110, section 10.2.3; `retry-after-ms` is OpenAI's and Azure's.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is None:
        until = _instant(text)
        if until is None:
            return None
        now = _instant(headers.get("date"))  # the provider's own clock, where it shows it
        seconds = until - (wall_s if now is None else now)
    return _bounded(seconds)


def limits(headers: Mapping[str, str], wall_s: float) -> dict[Kind, Limit]:
    """Returns the limits that have both a remainder and a reset. `wall_s` is now, in Unix seconds."""
    found: dict[Kind, Limit] = {}
    for kind in KINDS:
        remaining = _number(headers.get(f"x-ratelimit-remaining-{kind}"))
        resets_in_s = _span_s(headers.get(f"x-ratelimit-reset-{kind}"))
        if remaining is None or resets_in_s is None:
            remaining = _number(headers.get(f"anthropic-ratelimit-{kind}-remaining"))
            resets_in_s = _until_s(headers.get(f"anthropic-ratelimit-{kind}-reset"), wall_s)
        if remaining is not None and resets_in_s is not None:
            found[kind] = Limit(remaining, resets_in_s)
    return found


def _number(text: str | None) -> float | None:
    text = (text or "").strip()
    return min(float(text), _LARGEST) if _NUMBER.fullmatch(text) else None


def _instant(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime((text or "")[:_MOST_CHARACTERS]).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _span_s(text: str | None) -> float | None:
    text = (text or "").strip()
    plain = _number(text)
    if plain is not None:
        return _bounded(plain)
    parts = _SPAN.findall(text) if len(text) <= _MOST_CHARACTERS else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return _bounded(sum(float(number) * _UNITS_S[unit] for number, unit in parts))


def _until_s(text: str | None, wall_s: float) -> float | None:
    try:
        instant = datetime.fromisoformat((text or "")[:_MOST_CHARACTERS].strip())
        zoned = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
        return _bounded(zoned.timestamp() - wall_s)
    except (ValueError, OverflowError):
        return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_S) if math.isfinite(seconds) else LONGEST_S
