"""Two editors of one document: nothing that one of them changed vanishes without being shown."""

from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from controlplane.configuration.merge import Clash, merge

FLAG = {
    "default": "on",
    "description": "was",
    "rules": [{"id": "a", "serve": "on"}, {"id": "b", "serve": "off"}],
    "tags": ["x"],
    "variants": {"on": True, "off": False},
}


def test_different_fields_are_both_kept() -> None:
    mine, theirs = deepcopy(FLAG), deepcopy(FLAG)
    mine["description"] = "mine"
    mine["rules"][0]["serve"] = "off"
    theirs["variants"]["other"] = 1
    theirs["rules"] = [{"id": "new", "serve": "on"}, *theirs["rules"]]
    found = merge(FLAG, mine, theirs)
    assert found.clashes == ()
    assert found.document == {
        **FLAG,
        "description": "mine",
        "variants": {"on": True, "off": False, "other": 1},
        "rules": [{"id": "new", "serve": "on"}, {"id": "a", "serve": "off"}, {"id": "b", "serve": "off"}],
    }


def test_a_field_that_both_changed_is_shown_and_chosen() -> None:
    mine, theirs = {**FLAG, "default": "off"}, {**FLAG, "default": {"split": []}, "tags": ["x", "y"]}
    found = merge(FLAG, mine, theirs)
    assert found.clashes == (Clash("/default", "off", {"split": []}),)
    assert found.document == theirs
    assert merge(FLAG, mine, theirs, keep_mine={"/default"}).document == {**theirs, "default": "off"}


def test_a_rule_that_one_removed_and_the_other_changed_is_a_conflict() -> None:
    mine, theirs = {**FLAG, "rules": FLAG["rules"][1:]}, deepcopy(FLAG)
    theirs["rules"][0]["serve"] = "off"
    assert [clash.pointer for clash in merge(FLAG, mine, theirs).clashes] == ["/rules"]


def test_a_deletion_never_swallows_a_change_nor_a_change_a_deletion() -> None:
    assert [clash.pointer for clash in merge(FLAG, None, {**FLAG, "default": "off"}).clashes] == [""]
    assert [clash.pointer for clash in merge(FLAG, {**FLAG, "default": "off"}, None).clashes] == [""]
    assert merge(FLAG, FLAG, None).document is None


def test_true_is_not_one() -> None:
    assert merge({"v": True}, {"v": 1}, {"v": True}).document == {"v": 1}


values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["x", "y", "~/"]), inner, max_size=3)
        | st.lists(st.sampled_from("pqr"), unique=True, max_size=3).flatmap(
            lambda ids: st.tuples(*(inner.map(lambda v, i=i: {"id": i, "v": v}) for i in ids)).map(list)
        )
    ),
    max_leaves=8,
)
documents = st.dictionaries(st.sampled_from(["x", "y", "z"]), values, max_size=3)


@given(documents, documents, documents)
def test_both_see_the_same_clashes_and_what_is_not_one_is_the_same_from_either_side(before, mine, theirs) -> None:
    one, other = merge(before, mine, theirs), merge(before, theirs, mine)
    assert {clash.pointer for clash in one.clashes} == {clash.pointer for clash in other.clashes}
    if not one.clashes:
        assert one.document == other.document


@given(documents, documents, documents)
def test_choosing_mine_everywhere_keeps_all_that_i_changed(before, mine, theirs) -> None:
    pointers = {clash.pointer for clash in merge(before, mine, theirs).clashes}
    kept = merge(before, mine, theirs, keep_mine=pointers).document
    for name in before.keys() | mine.keys():
        if mine.get(name) != before.get(name) and not isinstance(mine.get(name), dict | list):
            assert kept.get(name) == mine.get(name)
        if theirs.get(name) == before.get(name) and (name in theirs) == (name in before):
            assert kept.get(name) == mine.get(name)


@given(documents, documents)
def test_one_editor_alone_never_clashes(before, mine) -> None:
    assert merge(before, mine, before) == (mine, ())
    assert merge(before, before, mine) == (mine, ())
