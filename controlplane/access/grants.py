"""Arithmetic of roles: what somebody holds, what of it a token may carry, what they may hand on. Pure."""

from collections.abc import Iterable, Mapping

from controlplane.access.actor import ANY_ENVIRONMENT, GRANTABLE, PERMISSIONS, Grants, Role
from controlplane.errors import Fault, ForbiddenError, InvalidInputError

EVERYTHING: Grants = {ANY_ENVIRONMENT: frozenset(GRANTABLE)}
"""The scope of a personal token that may do whatever its owner may."""


def collect(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[Role]]:
    """(environment, role) pairs → grants."""
    found: dict[str, frozenset[Role]] = {}
    for environment, role in pairs:
        found[environment] = found.get(environment, frozenset()) | {Role(role)}
    return found


def parse(raw: Mapping[str, Iterable[str]]) -> dict[str, frozenset[Role]]:
    """Grants as people write them.

    Raises:
        InvalidInputError: a role that does not exist or that nobody can be granted.
    """
    faults = tuple(
        Fault("unknown_role", f"{role!r} is not one of {', '.join(GRANTABLE)}", f"/grants/{environment}")
        for environment, roles in raw.items()
        for role in roles
        if role not in GRANTABLE
    )
    if faults:
        raise InvalidInputError(faults[0].message, faults)
    return collect((environment, role) for environment, roles in raw.items() for role in roles)


def plain(grants: Grants) -> dict[str, list[str]]:
    return {environment: sorted(roles) for environment, roles in sorted(grants.items())}


def covers(holder: Grants, role: Role, environment: str) -> bool:
    """Whether `holder` may do in `environment` all that `role` allows. What is asked of every environment must be held
    in every environment."""
    roles = holder.get(environment, frozenset()) | holder.get(ANY_ENVIRONMENT, frozenset())
    held = frozenset[object]().union(*(PERMISSIONS[r] for r in roles))
    return held >= PERMISSIONS[role]


def covered(holder: Grants, wanted: Grants) -> bool:
    """Whether everything in `wanted` is the holder's."""
    return all(covers(holder, role, environment) for environment, roles in wanted.items() for role in roles)


def require_covered(holder: Grants, wanted: Grants) -> None:
    """Raises ForbiddenError unless everything in `wanted` is the holder's to give."""
    for environment, roles in wanted.items():
        for role in sorted(roles):
            if not covers(holder, role, environment):
                where = "every environment" if environment == ANY_ENVIRONMENT else environment
                raise ForbiddenError(f"you cannot give away {role} in {where}: you do not hold it")


def require_within(holder: Grants, scope: Grants) -> None:
    """Raises ForbiddenError when `scope` names something that the holder does not hold: in `*`, held nowhere."""
    for environment, roles in scope.items():
        places = (*holder, environment) if environment == ANY_ENVIRONMENT else (environment,)
        for role in sorted(roles):
            if not any(covers(holder, role, place) for place in places):
                where = "anywhere" if environment == ANY_ENVIRONMENT else f"in {environment}"
                raise ForbiddenError(f"your token cannot be {role} {where}: you are not")


def narrowed(holder: Grants, scope: Grants) -> Grants:
    """What of `scope` the holder covers at this moment: a personal token never outlives its owner's roles."""
    environments = {*holder, *scope} if ANY_ENVIRONMENT in scope else set(scope)
    found: dict[str, frozenset[Role]] = {}
    for environment in environments:
        asked = scope.get(environment, frozenset()) | scope.get(ANY_ENVIRONMENT, frozenset())
        kept = frozenset(role for role in asked if covers(holder, role, environment))
        if kept:
            found[environment] = kept
    return found
