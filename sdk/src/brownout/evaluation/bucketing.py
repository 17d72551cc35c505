"""Which share of a split a unit falls into; version 1. Golden vectors: sdk/conformance/bucketing."""

import mmh3

BUCKETS = 10_000
HASHES = 1 << 32


def bucket(seed: str, unit: str) -> int:
    """0 to 9,999: MurmurHash3_x86_32 of `seed:unit` (UTF-8, hash seed 0), scaled to the buckets.

    The algorithm: Austin Appleby, https://github.com/aappleby/smhasher (public domain). Encoded here, because
    mmh3 (5.3) ends the process when given a str that UTF-8 cannot carry.

    Raises:
        UnicodeEncodeError: half a surrogate pair.
    """
    return (mmh3.mmh3_32_uintdigest(f"{seed}:{unit}".encode(), 0) * BUCKETS) >> 32


def first_hash_at(edge_bp: int) -> int:
    """The least hash whose bucket is not below `edge_bp`: comparing hashes spares the scaling."""
    return -(-edge_bp * HASHES // BUCKETS)
