"""Which headers of a response are kept: those that brownout.runner.rate_headers reads, and names for support."""

from collections.abc import Iterable, Iterator
from typing import Any

KEPT = ("retry-after", "x-ratelimit-", "anthropic-ratelimit-", "x-request-id", "request-id", "date")
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


def _pairs(headers: Any) -> Iterator[tuple[str, str]]:
    raw = getattr(headers, "raw", None)  # httpx: without decoding what is not kept
    pairs: Iterable[Any] = raw if isinstance(raw, list) else headers.items() if hasattr(headers, "items") else ()
    for name, value in pairs:
        if isinstance(name, bytes) and isinstance(value, bytes):
            yield name.decode("latin-1"), value.decode("latin-1")
        elif isinstance(name, str) and isinstance(value, (str, int, float)):
            yield name, str(value)
