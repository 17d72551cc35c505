"""Who acts. Every service command takes an Actor first and asks `authorize` before anything else."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec

from controlplane.errors import ForbiddenError


class Role(StrEnum):
    """What somebody may do in one environment (ADR 0006)."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


class Action(StrEnum):
    """Everything that needs permission. A route or CLI verb declares exactly one."""

    READ = "read"
    EVALUATE = "evaluate"
    EDIT = "edit"
    SAFE_MODE = "safe_mode"
    ROLLOUT = "rollout"
    APPROVE = "approve"
    EXPORT = "export"
    IMPORT = "import"
    MANAGE_KEYS = "manage_keys"
    MANAGE_ENVIRONMENT = "manage_environment"
    MANAGE_PEOPLE = "manage_people"
    READ_AUDIT = "read_audit"


PERMISSIONS: Mapping[Role, frozenset[Action]] = {
    Role.VIEWER: frozenset({Action.READ, Action.EVALUATE}),
    Role.EDITOR: frozenset({Action.READ, Action.EVALUATE, Action.EDIT, Action.ROLLOUT, Action.EXPORT, Action.IMPORT}),
    Role.OPERATOR: frozenset({Action.READ, Action.EVALUATE, Action.SAFE_MODE, Action.ROLLOUT, Action.EXPORT}),
    Role.APPROVER: frozenset({Action.READ, Action.EVALUATE, Action.APPROVE, Action.EXPORT, Action.READ_AUDIT}),
    Role.ADMIN: frozenset(Action),
}

ANY_ENVIRONMENT = "*"
"""A grant under this name holds in every environment."""


class Actor(msgspec.Struct, frozen=True):
    """An authenticated principal. `name` is what history shows, e.g. `mara@example.com` or `rollout:new-model`."""

    kind: Literal["person", "token", "sdk", "system"]
    name: str
    grants: Mapping[str, frozenset[Role]] = {}
    address: str = ""

    def roles(self, environment: str) -> frozenset[Role]:
        return self.grants.get(environment, frozenset()) | self.grants.get(ANY_ENVIRONMENT, frozenset())


def system_actor(name: str) -> Actor:
    """The control plane itself, e.g. `rollout:<key>`: may do anything, and history says it did."""
    return Actor("system", name, {ANY_ENVIRONMENT: frozenset({Role.ADMIN})})


def authorize(actor: Actor, action: Action, environment: str) -> None:
    """Raises ForbiddenError unless one of the actor's roles in `environment` allows `action`."""
    if not any(action in PERMISSIONS[role] for role in actor.roles(environment)):
        raise ForbiddenError(f"{actor.name} may not {action.value.replace('_', ' ')} in {environment}")
