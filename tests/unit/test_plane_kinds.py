"""Which kinds SDKs may not read, and what is settled about them."""

import pytest

from brownout._sync import prepare
from brownout.model.kinds import KINDS, SEALED, is_plane
from brownout.model.operating import Detect, FailureMode, ServiceTier
from brownout.model.parse import encode
from controlplane.configuration import safer
from controlplane.configuration.safer import objections
from controlplane.configuration.store.sealed import sealed_operation
from controlplane.configuration.store.values import Change
from controlplane.contract.kinds import KINDS as ROWS
from controlplane.resilience.modes import STANDARD

PLANE = ("failure_mode", "service_tier")


def test_these_kinds_stay_in_the_control_plane() -> None:
    assert [kind for kind in KINDS if is_plane(kind)] == list(PLANE)
    assert not is_plane("of a newer version")
    assert SEALED not in KINDS


@pytest.mark.parametrize("kind", PLANE)
def test_a_plane_kind_holds_up_no_commit_and_is_never_only_safer(kind: str) -> None:
    """What nobody decides by cannot loosen anything, but an approval is no one's to give for it."""
    assert not ROWS[kind].in_the_way
    assert kind not in safer.KINDS
    before: FailureMode | ServiceTier = ServiceTier(rank=2)
    after: FailureMode | ServiceTier = ServiceTier(rank=1)
    if kind == "failure_mode":
        before, after = FailureMode(Detect(("timeout",))), FailureMode(Detect(("refusal",)))
    assert objections([Change(kind, "k", encode(before), encode(after))], ())


@pytest.mark.parametrize("field", ["tier", "retrieval"])
def test_a_request_class_whose_tier_or_retrieval_changes_is_not_only_safer(field: str) -> None:
    spec = b'{"criticality":"critical","model":"m"}'
    changed = spec[:-1] + (b',"tier":"gold"}' if field == "tier" else b',"retrieval":true}')
    assert objections([Change("request_class", "reply", spec, changed)], ())


def test_sdks_build_no_decoder_for_them() -> None:
    assert not {FailureMode, ServiceTier} & set(prepare._DECODED)


def test_a_digest_is_of_the_environments_secret_the_revision_and_the_text() -> None:
    change = Change("failure_mode", "k", None, b'{"a":1}')
    first = sealed_operation(change, b"salt", 1)
    assert first == sealed_operation(change, b"salt", 1)
    others = [
        sealed_operation(change, b"other", 1),
        sealed_operation(change, b"salt", 2),
        sealed_operation(Change("failure_mode", "k", None, b'{"a":2}'), b"salt", 1),
        sealed_operation(Change("failure_mode", "l", None, b'{"a":1}'), b"salt", 1),
        sealed_operation(Change("service_tier", "k", None, b'{"a":1}'), b"salt", 1),
    ]
    assert len({bytes(each.spec) for each in (first, *others)}) == 6  # type: ignore[arg-type]
    assert len({each.key for each in (first, *others)}) == 4


def test_the_standard_modes_say_everything_that_a_person_needs_at_three_in_the_morning() -> None:
    assert len(STANDARD) == 8
    for mode in STANDARD.values():
        assert all((mode.description, mode.respond, mode.say.support, mode.say.status, mode.escalate, mode.expect))
