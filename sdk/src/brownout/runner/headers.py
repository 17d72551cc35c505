"""What a response's headers say of rates: the ones the rate gate reads, and how long to wait."""

import math
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from brownout._sync.clock import wall_s

KEPT = ("retry-after", "x-ratelimit-", "anthropic-ratelimit-", "x-request-id", "request-id", "date")
LONGEST_WAIT_S = 31 * 86_400.0
MOST_HEADERS, MOST_CHARACTERS = 32, 256


def kept_headers(headers: Any) -> dict[str, str]:
    """Returns the headers that speak of rates, lower-case. The rest stays behind: cookies do not belong in a log.

    Args:
        headers: A mapping, or the headers of an httpx, httpx2, requests or aiohttp response.
    """
    kept: dict[str, str] = {}
    for name, value in _pairs(headers):
        lower = name.lower()
        if lower.startswith(KEPT) and len(kept) < MOST_HEADERS:
            kept[lower] = value[:MOST_CHARACTERS]
    return kept


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds that a provider asks to wait, from headers with lower-case names; None if it does not say.

    Source: RFC 9110, section 10.2.3; `retry-after-ms` is read by the clients of OpenAI and Anthropic.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return _bounded(seconds)
    until = _instant(text)
    if until is None:
        return None
    now = _instant(headers.get("date"))  # the provider's own clock, where it shows it
    return _bounded(until - (wall_s() if now is None else now))


def _pairs(headers: Any) -> Iterator[tuple[str, str]]:
    raw = getattr(headers, "raw", None)  # httpx: without decoding what is not kept
    pairs: Iterable[Any] = raw if isinstance(raw, list) else headers.items() if hasattr(headers, "items") else ()
    for name, value in pairs:
        if isinstance(name, bytes) and isinstance(value, bytes):
            yield name.decode("latin-1"), value.decode("latin-1")
        elif isinstance(name, str) and isinstance(value, (str, int, float)):
            yield name, str(value)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _instant(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT_S)
