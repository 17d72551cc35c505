"""What a cache rung may serve: the seam to a cache, and the key under which an answer may be found again."""

import hashlib
import unicodedata
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

import msgspec

from brownout.context import Context
from brownout.evaluation.policy import Policy


class Cached(msgspec.Struct, frozen=True):
    """An answer of a model, and when it was made (Unix seconds)."""

    text: str
    at: float


class Cache(Protocol):
    """Keeps answers by key. Its methods may be plain or async; what they raise makes the rung miss."""

    def get(self, key: str) -> Cached | Awaitable[Cached | None] | None: ...

    def put(self, key: str, value: Cached, max_age_s: float) -> Awaitable[None] | None:
        """Keeps an answer; it is not asked for after `max_age_s`."""


class Outbox(Protocol):
    """Keeps requests to answer later."""

    def put(self, key: str, payload: bytes, not_after: float) -> Any:
        """Saves a request, once by its key. `not_after` is in Unix seconds: afterwards no one wants the answer."""


def cache_key(
    policy: Policy, context: Context, scope: tuple[str, ...] | None, version: str, given: tuple[Any, Mapping[str, Any]]
) -> str | None:
    """The key of an answer; None where it must not be shared, because nothing says who may see it or the input is not
    plain data. Tenant and user, the epoch and safe mode are parts of it, so that no other one's answer can match."""
    if scope is None:
        whose = [context.get("tenant"), context.get("targeting_key")]
        if whose[1] is None:
            return None
    else:
        whose = list(scope)
    profiles = sorted(policy.safe_mode.profiles)
    parts = [
        policy.request_class, policy.cache_epoch, profiles, whose, version, context.get("locale"),
        _normal(given[0]), _normal(dict(given[1])),
    ]  # fmt: skip
    try:
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
    except (TypeError, ValueError, RecursionError):
        return None


def _normal(value: Any) -> Any:
    """Texts that differ in white space or in how Unicode writes them are the same question."""
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFC", value).split())
    if isinstance(value, Mapping):
        return {str(key): _normal(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(each) for each in value]
    return value
