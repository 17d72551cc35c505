"""Answers kept for a `cache` rung: under which key, and where.

A key is exact and holds everything that an answer depends on, who may see it above all, so an entry of another user,
an older epoch or another safe mode is never found. There is no search by similarity: questions of opposite meaning are
as near to each other as two wordings of one.
"""

import hashlib
import json
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from brownout._sync.clock import wall_s

__all__ = ["Cache", "Cached", "MemoryCache"]

MOST_CHARACTERS = 1_000_000
"""Longer answers are not kept."""


class Cached(msgspec.Struct, frozen=True):
    """An answer of a model, and when it was made (Unix seconds)."""

    text: str
    at: float


class Cache(Protocol):
    """Keeps answers by key. Its methods may be plain or async; what they raise makes the rung miss."""

    def get(self, key: str) -> Cached | Awaitable[Cached | None] | None:
        """Returns the answer, or None if there is none or it has expired."""

    def put(self, key: str, value: Cached, max_age_s: float) -> Awaitable[None] | None:
        """Keeps an answer; it is not asked for after `max_age_s`."""


def cache_key(
    request_class: str,
    asked: Any,
    *,
    tenant: str | None,
    user: str | None,
    prompt_version: str = "",
    locale: str | None = None,
    epoch: int = 0,
    safe_mode: Sequence[str] = (),
) -> str | None:
    """Returns the key of an answer, or None if it must not be kept.

    Args:
        asked: All the input, as plain data: text, messages, parameters.
        tenant, user: Who may see the answer. None is unknown, and keeps the answer out; `""` says that there is none.
        epoch: The request class's `cache_epoch`.
        safe_mode: The profiles in force.
    """
    if tenant is None or user is None:
        return None
    parts = [request_class, tenant, user, prompt_version, locale, epoch, sorted(safe_mode)]
    try:
        plain = json.dumps(
            [parts, _normal(asked)], sort_keys=True
        )  # ASCII: half a surrogate pair is text like any other
    except (TypeError, ValueError, RecursionError):
        return None
    return hashlib.sha256(plain.encode()).hexdigest()


def _normal(value: Any) -> Any:
    """Texts that differ in how Unicode or a platform writes them, or at their ends, are the same question. Space inside
    stays: it means something in code."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value).replace("\r\n", "\n").strip()
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("1 and '1' would be one key")
        return {key: _normal(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(each) for each in value]
    return value


class MemoryCache:
    """Answers of this process; the one unused longest goes first. Safe for threads: one lock around every call."""

    blocks = False

    def __init__(
        self, most: int = 10_000, most_characters: int = 50_000_000, *, now: Callable[[], float] = wall_s
    ) -> None:
        self._most, self._most_characters, self._now = most, most_characters, now
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Cached, float]] = OrderedDict()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> Cached | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found[1] <= self._now():
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: str, value: Cached, max_age_s: float) -> None:
        if len(value.text) > MOST_CHARACTERS:
            return
        with self._lock:
            self._drop(key)
            self._kept[key] = (value, self._now() + max_age_s)
            self._characters += len(value.text)
            while len(self._kept) > self._most or self._characters > self._most_characters:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self._characters -= len(dropped[0].text)
