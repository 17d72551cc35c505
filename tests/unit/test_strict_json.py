import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import InvalidInputError
from controlplane.kit.strict_json import check_json, pointer_of, read_struct

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_json_without_duplicates_is_fine(value: object) -> None:
    assert check_json(json.dumps(value).encode()) == ()


@pytest.mark.parametrize(
    ("raw", "code", "pointer"),
    [
        (b'{"a":1,"a":2}', "duplicate_key", "/a"),
        (b'{"x":[{"a~/b":1,"a~/b":1}]}', "duplicate_key", "/x/0/a~0~1b"),
        (b'{"x":NaN}', "not_finite", "/x"),
        (b'{"x":-Infinity}', "not_finite", "/x"),
        (b'{"x":', "invalid_json", ""),
        (b'"\xff"', "invalid_json", ""),
        (b"[" * 104 + b"]" * 104, "too_deep", None),
        (b"[" * 5_000_000, "too_deep", ""),
    ],
)
def test_refused_and_located(raw: bytes, code: str, pointer: str | None) -> None:
    fault = check_json(raw)[0]
    assert fault.code == code
    assert pointer is None or fault.pointer == pointer


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    spec: msgspec.Raw


class Outer(msgspec.Struct):
    ops: list[Inner]


def test_raw_fields_stay_as_sent_and_faults_point() -> None:
    assert bytes(read_struct(b'{"ops":[{"spec":{"b": 1, "a":2}}]}', Outer).ops[0].spec) == b'{"b": 1, "a":2}'
    with pytest.raises(InvalidInputError) as refused:
        read_struct(b'{"ops":[{"spec":1},{}]}', Outer)
    assert refused.value.faults[0].pointer == "/ops/1/spec"


def test_pointers() -> None:
    assert pointer_of(".ops[0].kind") == "/ops/0/kind"
    assert pointer_of("") == ""
