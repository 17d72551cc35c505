"""What a draft does to what is there, without a database."""

from datetime import UTC, datetime

from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from controlplane.configuration.store.draft import draft, settle
from tests.integration.resources import activation, delete, put

PROFILE = ("safe_mode_profile", "calm", {"max_temperature": 0.1})
CALMER = ("safe_mode_profile", "calm", {"max_temperature": 0.0})
OVERDUE = activation("held", "calm", on_expiry="hold", expires_at="2026-01-02T00:00:00Z")
PRESENT = {ResourceRef(kind, key): encode(parse(kind, key, spec)) for kind, key, spec in (PROFILE, OVERDUE)}
LATER = datetime(2026, 2, 1, tzinfo=UTC)


def test_an_overdue_activation_does_not_hold_up_edits_of_what_it_names() -> None:
    changes, faults = settle(draft([put(CALMER)]), PRESENT, LATER)
    assert [change.key for change in changes] == ["calm"]
    assert faults == ()


def test_what_it_names_must_stay_all_the_same() -> None:
    _, faults = settle(draft([delete("safe_mode_profile", "calm")]), PRESENT, LATER)
    assert [(fault.code, fault.pointer) for fault in faults] == [
        ("unknown_reference", "/safe_mode_activation/held/profile")
    ]


def test_an_activation_is_not_edited_into_the_past() -> None:
    still_past = activation("held", "calm", on_expiry="hold", expires_at="2026-01-03T00:00:00Z")
    _, faults = settle(draft([put(still_past)]), PRESENT, LATER)
    assert [(fault.code, fault.pointer) for fault in faults] == [("expired", "/safe_mode_activation/held/expires_at")]
