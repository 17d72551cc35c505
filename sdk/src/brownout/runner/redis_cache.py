"""A cache in Redis or Valkey, shared by all instances (`pip install brownout[redis]`)."""

from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any, Protocol

import msgspec

from brownout.runner.cache import MOST_CHARACTERS, Cached

__all__ = ["RedisCache"]


class RedisClient(Protocol):
    """What is used of `redis.Redis` and of `redis.asyncio.Redis`."""

    def get(self, name: str) -> Any: ...

    def set(self, name: str, value: bytes, *, px: int) -> Any: ...


class _Head(msgspec.Struct):
    at: float


class RedisCache:
    """Answers under `<prefix><key>`; Redis forgets them when they expire. Give the client timeouts of its own.

    Args:
        client: A `redis.Redis`, or a `redis.asyncio.Redis`, with which `get` and `put` are awaitable. It must not decode
            responses.
    """

    def __init__(self, client: RedisClient, prefix: str = "brownout:cache:") -> None:
        self._client, self._prefix = client, prefix

    def get(self, key: str) -> Cached | Awaitable[Cached | None] | None:
        found = self._client.get(self._prefix + key)
        return _later(found) if isawaitable(found) else _decoded(found)

    def put(self, key: str, value: Cached, max_age_s: float) -> Awaitable[None] | None:
        if len(value.text) > MOST_CHARACTERS:
            return None
        head = msgspec.json.encode(_Head(value.at))
        content = head + b"\n" + value.text.encode("utf-8", "surrogatepass")
        done = self._client.set(self._prefix + key, content, px=max(1, round(max_age_s * 1000)))
        return _ignored(done) if isawaitable(done) else None


def _decoded(content: object) -> Cached | None:
    """None for what another version, or another program, wrote there."""
    if not isinstance(content, bytes):
        return None
    head, _, text = content.partition(b"\n")
    try:
        return Cached(text.decode("utf-8", "surrogatepass"), msgspec.json.decode(head, type=_Head).at)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


async def _later(found: Awaitable[object]) -> Cached | None:
    return _decoded(await found)


async def _ignored(done: Awaitable[object]) -> None:
    await done
