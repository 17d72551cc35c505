"""The kinds of resources: one row a kind. Whatever treats kinds alike asks here; nothing else lists them.

What an edge says of a kind (its path, its words) stands in the control plane's row, `controlplane.contract.kinds`.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from brownout.model import references, soundness
from brownout.model.faults import Fault
from brownout.model.operating import FailureMode, ServiceTier
from brownout.model.references import Resources
from brownout.model.resources import (
    Cohort,
    Flag,
    RequestClass,
    ResourceRef,
    ResponseTemplate,
    Rollout,
    SafeModeActivation,
    SafeModeProfile,
    Spec,
)


def _nothing(*_: object) -> Iterable[Any]:
    return ()


class Kind(msgspec.Struct, frozen=True):
    """What a kind is, beyond its struct."""

    struct: type[Spec]
    references: Callable[[Any], Iterable[tuple[str, ResourceRef]]] = _nothing
    """What a spec names: pairs of pointer and resource."""
    sound: Callable[[Any], Iterable[Fault]] = _nothing
    """Faults that can be seen without knowing other resources."""
    fits: Callable[[Resources, Any, datetime | None], Iterable[Fault]] = _nothing
    """Faults between a spec and what it names, beyond that it exists. The instant is None where nothing may expire."""
    newer: Literal["ignore", "tighten", "refuse"] = "refuse"
    """What a reader does with what it does not know because a newer version wrote it (brownout.model.reading): it leaves
    out unknown fields, applies the rest of a safe mode as strictly as possible, or decides nothing by that resource."""
    instead: Mapping[str, object] = {}
    """What an unknown value of a field is read as: the strictest choice that this version knows, or a mark in the place
    of words."""
    plane: bool = False
    """Only the control plane reads it: SDKs are told a digest of it, under `SEALED`, and never its content."""


SEALED = "sealed"
"""The kind under which SDKs hear of every plane kind (docs/adr/0220). It has no struct and no row: every SDK ignores it."""

KINDS: dict[str, Kind] = {
    "flag": Kind(Flag, references.of_flag, soundness.flag, references.flag_fits),
    "cohort": Kind(Cohort, references.of_cohort, soundness.cohort),
    "request_class": Kind(
        RequestClass, references.of_request_class, soundness.request_class, references.request_class_fits,
        newer="ignore", instead={"criticality": "sheddable", "sensitive": True},
    ),
    "safe_mode_profile": Kind(
        SafeModeProfile, references.of_profile, fits=references.profile_fits,
        newer="tighten", instead={"sensitive": "stop", "level": "critical"},
    ),
    "safe_mode_activation": Kind(
        SafeModeActivation, references.of_activation, soundness.activation, references.activation_fits,
        newer="tighten", instead={"on_expiry": "hold", "reason": "?", "actor": "?"},
    ),
    "response_template": Kind(ResponseTemplate, sound=soundness.template, newer="ignore"),
    "rollout": Kind(Rollout, references.of_rollout, soundness.rollout, references.rollout_fits),
    "failure_mode": Kind(
        FailureMode, references.of_failure_mode, soundness.failure_mode, newer="ignore", plane=True,
        instead={
            "detect": {"errors": ["server_error"], "reach": "every_model"}, "classes": [], "impact": {}, "respond": "",
            "say": {}, "escalate": "", "profile": None, "expect": "", "accepted": [],
        },
    ),
    "service_tier": Kind(
        ServiceTier, newer="ignore", plane=True, instead={"rank": 1, "requires": {}, "enforce": "refuse"},
    ),
}  # fmt: skip


def kind_of(spec: Spec) -> Kind:
    """The row of a spec's own kind."""
    return next(kind for kind in KINDS.values() if kind.struct is type(spec))


def is_plane(kind: str) -> bool:
    """Whether SDKs may only hear a digest of it."""
    return kind in KINDS and KINDS[kind].plane
