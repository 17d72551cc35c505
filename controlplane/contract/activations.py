"""What everyone who switches safe mode keeps to: asked for again it lasts longer, and machines do not pile it up. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from brownout.model.resources import SafeModeActivation, Scope
from controlplane.access.actor import Actor
from controlplane.contract.specs import NEWER, find_spec
from controlplane.errors import ConflictError

MAX_BY_AUTOMATION = 100
"""How many activations an environment may hold for anyone but a person to add one. SDKs pay for each."""

_LEAST = timedelta(milliseconds=1)

_UNREADABLE = SafeModeActivation(
    profile="unknown", reason=NEWER, actor="unknown", on_expiry="hold",
    activated_at=datetime.fromtimestamp(0, UTC), expires_at=datetime.fromtimestamp(0, UTC),
)  # fmt: skip


class TooManyActivationsError(ConflictError):
    """The environment holds so many activations that only a person may add another. Nothing was written."""

    code = "too_many_activations"


def is_automation(actor: Actor) -> bool:
    """A service's token, a rollout, the control plane: anything but a person's own hand."""
    return actor.kind != "person" and not actor.human


def find_same(
    present: Iterable[tuple[str, SafeModeActivation]], spec: SafeModeActivation
) -> tuple[str, SafeModeActivation] | None:
    """The one with the profile and scope of `spec` that applies when that begins; of several, the last to end."""
    same = [
        (key, each)
        for key, each in present
        if each.profile == spec.profile
        and _whole(each.scope) == _whole(spec.scope)
        and (each.expires_at > spec.activated_at or each.on_expiry == "hold")
    ]
    return max(same, key=lambda found: (found[1].on_expiry == "hold", found[1].expires_at, found[0]), default=None)


def extended(present: SafeModeActivation, spec: SafeModeActivation) -> SafeModeActivation:
    """`present`, also for as long as `spec`: never shorter, never a `lift` for a `hold`.

    Its end moves by a millisecond at least, so that there is a commit to say who asked for it again, and why.
    """
    return msgspec.structs.replace(
        present,
        expires_at=max(spec.expires_at, present.expires_at + _LEAST),
        on_expiry="hold" if "hold" in {present.on_expiry, spec.on_expiry} else "lift",
        incident=present.incident or spec.incident,
    )


def read_activation(raw: bytes | None) -> SafeModeActivation:
    """An activation for people to see and to lift; of one that this version cannot read at all, that it is there."""
    return find_spec(raw, SafeModeActivation) or _UNREADABLE


def _whole(scope: Scope) -> tuple[frozenset[str], ...]:
    """A scope's lists are sets to those who read them."""
    return tuple(map(frozenset, (scope.services, scope.request_classes, scope.cohorts, scope.providers)))
