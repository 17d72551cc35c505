"""Which profile switches a provider off, and whether it has to be made first."""

from collections.abc import Mapping, Sequence

from brownout.model.resources import ResourceRef, SafeModeProfile
from controlplane.configuration.store import Store
from controlplane.contract.outages import PROFILE, excludes, outage_keys
from controlplane.contract.specs import find_spec
from controlplane.errors import ConflictError


async def find_outage(store: Store, environment: str, providers: Sequence[str]) -> tuple[str, bool]:
    """The key of the profile that excludes `providers`, and whether it is there already.

    Raises:
        ConflictError: every key that it could have belongs to a profile that lets them through.
    """
    present = {}
    for key in outage_keys(providers):
        found = await store.find_resource(environment, PROFILE, key)
        if found is None:
            break
        present[ResourceRef(PROFILE, key)] = found.spec
    return choose_outage(present, providers)


def choose_outage(resources: Mapping[ResourceRef, bytes], providers: Sequence[str]) -> tuple[str, bool]:
    """The same among specs at hand. A profile that does more than exclude them is used as it is, never overwritten."""
    for key in outage_keys(providers):
        spec = resources.get(ResourceRef(PROFILE, key))
        if spec is None:
            return key, False
        if _excludes(spec, providers):
            return key, True
    raise ConflictError(f"{outage_keys(providers)[0]} and its like do not exclude {', '.join(providers)}: edit one")


def _excludes(spec: bytes, providers: Sequence[str]) -> bool:
    profile = find_spec(spec, SafeModeProfile)
    return profile is not None and excludes(profile, providers)
