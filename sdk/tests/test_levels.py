"""Schema levels: what is said of a spec that a reader cannot read, and that nothing is added or removed unnoticed."""

import msgspec
import pytest

from brownout.model import levels
from brownout.model.levels import ADDED, LEVEL, Added, beyond
from sdk.conformance.levels import LEVEL_1, Fields, fields_now


def test_every_field_and_value_after_level_1_has_a_level() -> None:
    first = msgspec.json.decode(LEVEL_1.read_bytes(), type=Fields)
    now = fields_now()
    registered = {(row.kind, row.path[-1] if row.path else "") for row in ADDED}
    names = {name for _, name in registered} | {kind for kind, name in registered if not name}
    values = {str(value) for row in ADDED for value in row.values}
    for struct, fields in now.items():
        for field, closed in fields.items():
            known = first.get(struct, {})
            assert field in known or field in names, f"{struct}.{field} is in no level: add it to brownout.model.levels"
            added = set(closed) - set(known.get(field, closed)) - values
            assert not added, f"{struct}.{field} has values of no level: {sorted(added)}"


def test_nothing_of_level_1_is_gone() -> None:
    first, now = msgspec.json.decode(LEVEL_1.read_bytes(), type=Fields), fields_now()
    for struct, fields in first.items():
        for field, closed in fields.items():
            assert field in now.get(struct, {}), f"{struct}.{field} was released"
            assert set(closed) <= set(now[struct][field]), f"{struct}.{field} lost a value that was released"


def test_the_level_is_that_of_the_newest_addition() -> None:
    assert max((row.level for row in ADDED), default=1) == LEVEL


@pytest.mark.parametrize(
    ("added", "found"),
    [
        ((), []),
        ((Added(2, "flag", ("owner",)),), [(2, "/owner")]),
        ((Added(2, "cohort", ("owner",)),), []),
        ((Added(2, "flag", ("missing",)),), []),
        ((Added(2, "flag", ("rules", "*", "serve")), Added(3, "flag", ("owner",), ("you",))), [(2, "/rules/0/serve")]),
        ((Added(3, "flag", ("owner",), ("me",)),), [(3, "/owner")]),
        ((Added(2, "flag"),), [(2, "")]),
        ((Added(2, "flag", ("variants", "*", "a")),), [(2, "/variants/x~1y/a")]),
    ],
)
def test_what_a_reader_of_level_1_cannot_read(
    added: tuple[Added, ...], found: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "ADDED", added)
    spec = msgspec.json.encode({"owner": "me", "rules": [{"serve": "on"}], "variants": {"x/y": {"a": 1}}})
    assert beyond(1, "flag", spec) == found
    assert beyond(9, "flag", spec) == []
    assert beyond(1, "flag", b"not JSON") == []
