import msgspec
import pytest

from controlplane.configuration.store.fields import compare

RULE_A, RULE_B = {"id": "a", "serve": "on"}, {"id": "b", "serve": "off"}
CASES: dict[str, tuple[object, object, list[tuple[str, object, object]]]] = {
    "equal": ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, []),
    "a nested value": ({"a": {"b/c~": 1}}, {"a": {"b/c~": 2}}, [("/a/b~1c~0", 1, 2)]),
    "a field more": ({"a": 1}, {"a": 1, "b": None}, [("/b", "absent", None)]),
    "a field less": ({"a": 1, "b": 2}, {"a": 1}, [("/b", 2, "absent")]),
    "true is not one": ({"a": True}, {"a": 1}, [("/a", True, 1)]),
    "a list of values": ({"a": [1, 2]}, {"a": [2]}, [("/a", [1, 2], [2])]),
    "an item with an id": ([RULE_A], [RULE_A | {"serve": "off"}], [("/0/serve", "on", "off")]),
    "an item more": ([RULE_A], [RULE_B, RULE_A], [("/0", "absent", RULE_B)]),
    "an item less": ([RULE_A, RULE_B], [RULE_B], [("/0", RULE_A, "absent")]),
    "another order": ([RULE_A, RULE_B], [RULE_B, RULE_A], [("", ["a", "b"], ["b", "a"])]),
}


@pytest.mark.parametrize("what", CASES)
def test_the_smallest_parts_that_differ_are_named(what: str) -> None:
    before, after, expected = CASES[what]
    found = compare(msgspec.json.encode(before), msgspec.json.encode(after))

    def side(encoded: bytes | None) -> object:
        return "absent" if encoded is None else msgspec.json.decode(encoded)

    assert [(change.pointer, side(change.before), side(change.after)) for change in found] == expected


def test_what_is_new_or_gone_is_one_change_of_the_whole() -> None:
    (new,) = compare(None, b"{}")
    (gone,) = compare(b"{}", None)
    assert (new.pointer, new.before, new.after) == ("", None, b"{}")
    assert (gone.before, gone.after) == (b"{}", None)
