"""Whose password alone does not do (BROWNOUT_REQUIRE_SECOND_FACTOR). Pure."""

from controlplane.access.actor import ANY_ENVIRONMENT, GRANTABLE, Grants, Role

Requirement = frozenset[tuple[Role, str]]
"""(role, environment or ANY_ENVIRONMENT): who holds one of them needs a second factor. Empty = nobody."""

EVERYONE: Requirement = frozenset((role, ANY_ENVIRONMENT) for role in GRANTABLE)


def parse_requirement(text: str) -> Requirement:
    """`off`, `admins`, `everyone`, or roles such as `admin, operator@production`. Raises ValueError."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    match words:
        case [] | ["off"]:
            return frozenset()
        case ["everyone"]:
            return EVERYONE
    return frozenset(_one(word) for word in words)


def requires(requirement: Requirement, grants: Grants) -> bool:
    """Whether somebody with `grants` needs a second factor. A role held everywhere is held in each environment."""
    return any(
        role in roles and (asked in {held, ANY_ENVIRONMENT} or held == ANY_ENVIRONMENT)
        for role, asked in requirement
        for held, roles in grants.items()
    )


def _one(word: str) -> tuple[Role, str]:
    name, _, environment = word.partition("@")
    name = "admin" if name == "admins" else name
    if name not in GRANTABLE:
        raise ValueError(f"{word!r} is not off, admins, everyone, or one of the roles {', '.join(GRANTABLE)}")
    return Role(name), environment or ANY_ENVIRONMENT
