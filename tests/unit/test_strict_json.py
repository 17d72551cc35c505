import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.strict_json import check_json, depth

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
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
        (b'{"x":NaN}', "not_json", "/x"),
        (b'{"x":-Infinity}', "not_json", "/x"),
        (b'{"x":', "not_json", ""),
        (b'"\xff"', "not_json", ""),
        (b"[" * 101 + b"]" * 101, "too_deep", ""),
        (b"[" * 5_000_000, "too_deep", ""),
    ],
)
def test_refused_and_located(raw: bytes, code: str, pointer: str) -> None:
    fault = check_json(raw)[0]
    assert (fault.code, fault.pointer) == (code, pointer)


def test_a_hundred_levels_are_fine_and_brackets_in_strings_do_not_count() -> None:
    assert check_json(b"[" * 100 + b"]" * 100) == ()
    assert depth(b'["[[[[", "\\"[["]') == 1
