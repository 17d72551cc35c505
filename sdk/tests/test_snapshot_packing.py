import os

import pytest

from brownout import wire

RESOURCES = [("flag", f"flag-{i}", b'{"type":"boolean","description":"%d \\t \\n"}' % i) for i in range(3_000)]


def unpacked(chunks: tuple[bytes, ...]) -> list[tuple[str, str, bytes]]:
    return [resource for batch in wire.unpack_snapshot(chunks) for resource in batch]


@pytest.mark.parametrize("count", [0, 1, 3_000])
def test_a_snapshot_comes_back_as_it_was(count: int) -> None:
    assert unpacked(wire.pack_snapshot(RESOURCES[:count])) == RESOURCES[:count]


def test_a_spec_larger_than_every_limit_passes_through_in_small_messages() -> None:
    big = [("flag", "big", b'"%b"' % os.urandom(2_000_000).hex().encode())]
    chunks = wire.pack_snapshot(big)
    assert max(map(len, chunks)) <= wire.SNAPSHOT_CHUNK_BYTES
    assert unpacked(chunks) == big


def test_the_same_resources_always_have_the_same_digest() -> None:
    first, second = wire.pack_snapshot(RESOURCES), wire.pack_snapshot(RESOURCES)
    assert wire.snapshot_digest(first) == wire.snapshot_digest(second)
    assert wire.snapshot_digest(first) != wire.snapshot_digest(wire.pack_snapshot(RESOURCES[1:]))


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1], lambda c: (b"junk", *c[1:]), lambda c: (*c[:-1], c[-1][:-3]), lambda _: ()]
)
def test_what_is_not_a_whole_snapshot_is_refused(damage: object) -> None:
    chunks = wire.pack_snapshot([("flag", f"f{i}", os.urandom(40).hex().encode()) for i in range(3_000)])
    with pytest.raises(ValueError, match="snapshot"):
        unpacked(damage(chunks))  # type: ignore[operator]


def test_a_spec_that_would_break_the_framing_is_refused() -> None:
    with pytest.raises(ValueError, match="canonical"):
        wire.pack_snapshot([("flag", "a", b'{\n"type": "boolean"}')])
