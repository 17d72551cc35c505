"""What a split promises to whoever is moved through its stages."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from brownout.evaluation.bucketing import BUCKETS, HASHES, bucket, first_hash_at
from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef

_units = st.text(min_size=1, max_size=30)


def variant(weights: tuple[int, ...], unit: str) -> str | None:
    names = "abcdef"[: len(weights)]
    shares = [{"variant": name, "weight_bp": weight} for name, weight in zip(names, weights, strict=True)]
    spec = {"type": "string", "variants": {n: n for n in names}, "off_variant": "a", "default": {"split": shares}}
    compiled = Compiled.load("e", 1, {ResourceRef("flag", "f"): encode(parse("flag", "f", spec))})
    return evaluate(compiled, "f", {"targeting_key": unit}, default="").variant


@given(_units, st.integers(0, BUCKETS), st.integers(0, BUCKETS))
def test_growing_the_first_variant_never_moves_a_unit_out_of_it(unit: str, one: int, two: int) -> None:
    small, large = sorted((one, two))
    if variant((small, BUCKETS - small), unit) == "a":
        assert variant((large, BUCKETS - large), unit) == "a"


@given(_units, st.lists(st.integers(0, BUCKETS), min_size=1, max_size=5))
def test_a_unit_gets_the_variant_whose_range_holds_its_bucket(unit: str, edges: list[int]) -> None:
    bounds = [0, *sorted(edges), BUCKETS]
    weights = tuple(high - low for low, high in pairwise(bounds))
    found = variant(weights, unit)
    assert found is not None
    index = "abcdef".index(found)
    assert bounds[index] <= bucket("f", unit) < bounds[index + 1]


@given(st.integers(0, BUCKETS))
def test_hash_edges_are_bucket_edges(edge: int) -> None:
    first = first_hash_at(edge)
    assert (first * BUCKETS) // HASHES == edge
    if edge:
        assert ((first - 1) * BUCKETS) // HASHES == edge - 1


def test_the_shares_of_many_units_are_near_their_weights() -> None:
    buckets = [bucket("spread", f"u-{n}") for n in range(100_000)]
    for edge in (100, 500, 5_000, 9_000):
        share = sum(found < edge for found in buckets) / len(buckets)
        assert abs(share - edge / BUCKETS) < 0.005
