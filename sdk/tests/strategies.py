"""Hypothesis strategies for specs that a person could write, and for contexts that nobody should."""

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, get_args

from hypothesis import strategies as st

from brownout.evaluation.safemode import Overlay
from brownout.model.operators import NUMERIC, TEMPORAL, VERSIONED
from brownout.model.resources import Criticality, Operator, SensitiveAction

ATTRIBUTES = ["plan", "country", "age", "version", "seen_at", "tags", "user.plan", "targeting_key"]
TEXTS = ["pro", "free", "de", "u-1", "u-2", ""]
INSTANTS = ["2026-03-01T12:00:00Z", "2026-03-02T00:00:00+02:00"]
VERSIONS = ["1.0.0", "1.2.0-rc.1", "2.0.0"]
NUMBERS: list[int | float] = [0, 1, 18, 2.5, -1]
COHORTS = ["beta", "staff"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from([*TEXTS, *INSTANTS, *VERSIONS, *NUMBERS])
)
json = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
contexts = st.dictionaries(st.sampled_from([*ATTRIBUTES, "user", "other"]) | st.text(max_size=8), json, max_size=8)


@st.composite
def clauses(draw: st.DrawFn, *, nested: bool = False) -> dict[str, Any]:
    op = draw(st.sampled_from([op for op in get_args(Operator) if not (nested and op == "in_cohort")]))
    attribute = draw(st.sampled_from(ATTRIBUTES))
    single = op in NUMERIC | TEMPORAL | VERSIONED
    sources: dict[str, list[Any]] = {"in_cohort": COHORTS, "starts_with": TEXTS[:-1], "ends_with": TEXTS[:-1]}
    sources |= dict.fromkeys(NUMERIC, NUMBERS) | dict.fromkeys(TEMPORAL, INSTANTS) | dict.fromkeys(VERSIONED, VERSIONS)
    source = sources.get(op, [*TEXTS, *NUMBERS, True, False])
    values = draw(st.lists(st.sampled_from(source), min_size=1, max_size=1 if single else 3))
    found: dict[str, Any] = {"op": op, "values": [] if op == "exists" else values, "negate": draw(st.booleans())}
    return found if op == "in_cohort" else found | {"attribute": attribute}


@st.composite
def splits(draw: st.DrawFn, variants: list[str]) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(variants), min_size=1, max_size=4))
    edges = sorted(draw(st.lists(st.integers(0, 10_000), min_size=len(names) - 1, max_size=len(names) - 1)))
    weights = [high - low for low, high in zip([0, *edges], [*edges, 10_000], strict=True)]
    shares = [{"variant": name, "weight_bp": weight} for name, weight in zip(names, weights, strict=True)]
    return {"split": shares, "by": draw(st.sampled_from(ATTRIBUTES)), "seed": draw(st.sampled_from(["s", "t"]))}


@st.composite
def flags(draw: st.DrawFn) -> dict[str, Any]:
    variants = draw(st.dictionaries(st.text(min_size=1, max_size=5), json, min_size=1, max_size=4))
    names = sorted(variants)
    serve = st.sampled_from(names) | splits(names)
    rules = [
        {"id": f"r{n}", "if": draw(st.lists(clauses(), max_size=3)), "serve": draw(serve)}
        for n in range(draw(st.integers(0, 4)))
    ]
    found = {
        "type": "object",
        "variants": {name: {"value": value} for name, value in variants.items()},
        "off_variant": names[0],
        "default": draw(serve),
        "enabled": draw(st.sampled_from([True, True, True, False])),
        "rules": rules,
    }
    return found | ({"safe_variant": names[-1]} if draw(st.booleans()) else {})


@st.composite
def cohorts(draw: st.DrawFn) -> dict[str, Any]:
    units = st.lists(st.sampled_from(TEXTS), max_size=3)
    alternatives = st.lists(st.lists(clauses(nested=True), min_size=1, max_size=2), max_size=2)
    found = {"include": draw(units), "exclude": draw(units), "any_of": draw(alternatives)}
    return found | {"by": draw(st.sampled_from(ATTRIBUTES))}


_names = st.sampled_from(["main", "spare", "tiny", "openai", "anthropic", "shell", "web-*"])
_limits = st.none() | st.integers(1, 5_000)
overlays = st.builds(
    Overlay,
    exclude_tools=st.frozensets(_names, max_size=3),
    exclude_targets=st.frozensets(_names, max_size=2),
    exclude_providers=st.frozensets(_names, max_size=1),
    max_temperature=st.none() | st.floats(0, 2),
    max_context_tokens=_limits,
    max_output_tokens=_limits,
    max_attempts=st.none() | st.integers(1, 5),
    sensitive=st.sampled_from(get_args(SensitiveAction)),
    shed_bp=st.tuples(*[st.integers(0, 10_000)] * len(get_args(Criticality))),
)


class Hostile:
    """Raises whatever is asked of it."""

    def _refuse(self, *_: object) -> NoReturn:
        raise RuntimeError("hostile")

    __eq__ = __hash__ = __len__ = __iter__ = __getitem__ = __contains__ = __bool__ = __str__ = _refuse  # type: ignore[assignment]
    __lt__ = __gt__ = __sub__ = __float__ = __int__ = __index__ = __getattr__ = _refuse  # type: ignore[assignment]

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("hostile")


class HostileText(str):
    __slots__ = ()

    def _refuse(self, *_: object) -> NoReturn:
        raise RuntimeError("hostile")

    __eq__ = __hash__ = __len__ = __str__ = startswith = endswith = __contains__ = _refuse  # type: ignore[assignment]


class HostileNumber(float):
    def __lt__(self, other: object) -> NoReturn:
        raise RuntimeError("hostile")

    __gt__ = __le__ = __ge__ = __sub__ = __float__ = __eq__ = __hash__ = __lt__  # type: ignore[assignment]


class HostileList(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield "x"

    def __len__(self) -> int:
        raise RuntimeError("hostile")


class HostileMapping(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise RuntimeError("hostile")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("hostile")

    def __len__(self) -> int:
        raise RuntimeError("hostile")


def recursive() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found |= {"user": found, "plan": found, "tags": [found]}
    return found


HOSTILE: list[Any] = [
    Hostile(),
    HostileText("pro"),
    HostileNumber(1.0),
    HostileList(["pro"]),
    HostileMapping(),
    recursive(),
    float("nan"),
    float("inf"),
    -float("inf"),
    10**5_000,
    "x" * 10_000_000,
    ["x"] * 100_000,
    "\ud800",
    b"pro",
    object(),
    type,
    Hostile,
    lambda: None,
]
"""Values; each may stand anywhere in a context, or be the context."""

_contexts = [*HOSTILE, None, 5, "context", [], ("a",), {1: 2}]
# By index: hypothesis hashes and compares what it samples, which hostile values do not suffer.
_hostile = st.integers(0, len(HOSTILE) - 1).map(HOSTILE.__getitem__)
hostile_contexts = st.integers(0, len(_contexts) - 1).map(_contexts.__getitem__) | st.dictionaries(
    st.sampled_from([*ATTRIBUTES, "user"]), _hostile | json, max_size=8
)
