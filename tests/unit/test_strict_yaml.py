"""YAML from outside: the JSON data model and nothing else, whatever it does to a parser."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import InvalidInputError
from controlplane.kit.strict_yaml import dump_yaml, load_yaml


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"", None),
        (b"# nothing", None),
        (b"a: [1, -2, 1.5, true, null, ~, no, 2024-01-31, 1e5, 2E-3, '1e5', .nan, '1', \"true\"]\nb:\n", {
            "a": [1, -2, 1.5, True, None, None, "no", "2024-01-31", 1e5, 2e-3, "1e5", ".nan", "1", "true"], "b": None,
        }),
        (b'{"a": {"b": "\\u00e9"}}', {"a": {"b": "é"}}),
        (b"text: |\n  two\n  lines\n<<: merged\n", {"text": "two\nlines\n", "<<": "merged"}),
    ],
)  # fmt: skip
def test_what_is_read(raw: bytes, value: object) -> None:
    assert load_yaml(raw) == value
    assert load_yaml(dump_yaml(value)) == value


def test_a_hundred_levels_are_read() -> None:
    raw = b"[" * 103 + b"]" * 103
    assert load_yaml(raw) == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "code", "pointer"),
    [
        (b"a: 1\nb: {x: 1, x: 2}", "duplicate_key", "/b/x"),
        (b"a/b: 1\na/b: 2", "duplicate_key", "/a~1b"),
        (b"a: &x [1]\nb: *x", "invalid_yaml", "/a"),
        (b"a: *x", "invalid_yaml", "/a"),
        (b"a: !!binary aGk=", "invalid_yaml", "/a"),
        (b"a: !!python/object/apply:os.getcwd []", "invalid_yaml", "/a"),
        (b"a:\n- 1: 2", "wrong_type", "/a/0"),
        (b"? [1]\n: 2", "wrong_type", ""),
        (b"a: 1.0e+999", "not_finite", "/a"),
        (b"a: " + b"9" * 5_000, "invalid_value", "/a"),
        (b"a: 1\n---\nb: 2", "invalid_yaml", ""),
        (b"a: [1", "invalid_yaml", ""),
        (b"a: \x00", "invalid_yaml", ""),
        (b"a: \xff", "invalid_yaml", ""),
        (b'a: "\\ud800"', "invalid_yaml", ""),
        (b"[" * 104 + b"]" * 104, "too_deep", "/0" * 103),
        (b"[" * 1_000_000, "too_deep", "/0" * 103),
        (b"{a: " * 1_000_000, "too_deep", "/a" * 103),
        (b"- " * 100_000, "too_deep", "/0" * 103),
    ],
)
def test_what_is_refused(raw: bytes, code: str, pointer: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_yaml(raw)
    assert [(fault.code, fault.pointer) for fault in caught.value.faults] == [(code, pointer)]


def test_a_refusal_names_line_and_column() -> None:
    with pytest.raises(InvalidInputError, match=r"^line 3, column 3: the key 'x' stands twice$"):
        load_yaml(b"a:\n  x: 1\n  x: 2\n")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))) | st.from_regex(r"[-+]?[0-9]{1,3}(\.[0-9]*)?([eE][-+]?[0-9]{1,2})?", fullmatch=True),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=5), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(value=JSON, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_a_json_document_means_the_same_under_either_name(value: object, ascii_only: bool, indent: int | None) -> None:
    document = {"a": [value]}
    raw = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    assert load_yaml(raw) == json.loads(raw)
    assert repr(load_yaml(dump_yaml(document))) == repr(json.loads(raw))
