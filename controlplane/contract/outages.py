"""The profile of a provider's outage: it excludes providers and does nothing else. Pure.

Anything that may switch safe mode on may also write this profile, because all it can do is stop calls to a provider.
"""

import re
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from brownout.evaluation.safemode import normal
from brownout.model.codec import decode
from brownout.model.parse import encode
from brownout.model.resources import SafeModeProfile
from brownout.wire import Operation

PROFILE = "safe_mode_profile"
PREFIX = "provider-outage-"
MAX_KEY = 100
SPARES = 9
"""Keys to try when other people's profiles have the first ones."""

_NOT_IN_A_KEY = re.compile(r"[^a-z0-9._-]+", re.ASCII)


def outage_keys(providers: Sequence[str]) -> tuple[str, ...]:
    """The keys that the profile may have, the first choice first: `provider-outage-anthropic`, `…-anthropic-2`."""
    names = _normal(providers)
    key = PREFIX + "-".join(map(_slug, names))
    if len(key) > MAX_KEY - 2:
        key = f"{PREFIX}{len(names)}-{_digest(names)}"
    return (key, *(f"{key}-{n}" for n in range(2, SPARES + 1)))


def outage_profile(providers: Sequence[str]) -> SafeModeProfile:
    """Excludes `providers` and changes nothing else."""
    names = _normal(providers)
    return SafeModeProfile(
        exclude_providers=names,
        description=f"Nothing is sent to {' or '.join(names)}: for an outage of the provider.",
    )


def excludes(profile: SafeModeProfile, providers: Sequence[str]) -> bool:
    """Whether `profile` keeps requests away from each of `providers`."""
    excluded = set(map(normal, profile.exclude_providers))
    return "*" in excluded or excluded.issuperset(_normal(providers))


def outage_put(key: str, providers: Sequence[str]) -> Operation:
    return Operation("put", PROFILE, key, msgspec.Raw(encode(outage_profile(providers))))


def is_outage_put(operation: Operation) -> bool:
    """Whether an operation puts exactly what `outage_put` makes for the providers that it excludes."""
    if operation.op != "put" or operation.kind != PROFILE or isinstance(operation.spec, msgspec.UnsetType):
        return False
    try:
        spec = decode(PROFILE, bytes(operation.spec))
    except (msgspec.MsgspecError, ValueError):
        return False
    if not isinstance(spec, SafeModeProfile) or not spec.exclude_providers:
        return False
    providers = spec.exclude_providers
    return operation.key in outage_keys(providers) and spec == outage_profile(providers)


def _normal(providers: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(map(normal, providers))))


def _slug(name: str) -> str:
    if name == "*":
        return "all"
    return _NOT_IN_A_KEY.sub("-", name).strip("-") or _digest((name,))


def _digest(names: Sequence[str]) -> str:
    return sha256("\0".join(names).encode()).hexdigest()[:12]
