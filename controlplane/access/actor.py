"""Who acts. Every service command takes an Actor first and asks `authorize` before anything else (docs/access.md)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec

from controlplane.errors import ForbiddenError, StepUpRequiredError


class Role(StrEnum):
    """What somebody may do in one environment (ADR 0060)."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"
    SDK = "sdk"
    """What an SDK key holds over HTTP. Nobody can be granted it, nor its two halves."""
    SDK_EVALUATE = "sdk_evaluate"
    SDK_REPORT = "sdk_report"


KEY_ROLES = (Role.SDK, Role.SDK_EVALUATE, Role.SDK_REPORT)

GRANTABLE = tuple(role for role in Role if role not in KEY_ROLES)
"""The roles people and tokens can have, least first."""


class Action(StrEnum):
    """Everything that needs permission. A route or CLI verb declares exactly one."""

    READ = "read"
    EVALUATE = "evaluate"
    REPORT = "report"
    EDIT = "edit"
    SAFE_MODE = "safe_mode"
    ROLLOUT = "rollout"
    APPROVE = "approve"
    EXPORT = "export"
    IMPORT = "import"
    BREAK_GLASS = "break_glass"
    MANAGE_KEYS = "manage_keys"
    MANAGE_ENVIRONMENT = "manage_environment"
    MANAGE_PEOPLE = "manage_people"
    READ_AUDIT = "read_audit"

    @property
    def words(self) -> str:
        """As it stands after "may not"."""
        said = {
            Action.SAFE_MODE: "switch safe mode",
            Action.ROLLOUT: "run rollouts",
            Action.READ_AUDIT: "read the audit log",
        }
        return said.get(self, self.value.replace("_", " "))


_READER = {Action.READ, Action.EVALUATE}

PERMISSIONS: Mapping[Role, frozenset[Action]] = {
    Role.SDK: frozenset({Action.EVALUATE, Action.REPORT}),
    Role.SDK_EVALUATE: frozenset({Action.EVALUATE}),
    Role.SDK_REPORT: frozenset({Action.REPORT}),
    Role.VIEWER: frozenset(_READER),
    Role.EDITOR: frozenset(
        {*_READER, Action.EDIT, Action.ROLLOUT, Action.EXPORT, Action.IMPORT, Action.BREAK_GLASS},
    ),
    Role.OPERATOR: frozenset({*_READER, Action.SAFE_MODE, Action.ROLLOUT, Action.EXPORT, Action.BREAK_GLASS}),
    Role.APPROVER: frozenset({*_READER, Action.APPROVE, Action.EXPORT, Action.READ_AUDIT}),
    Role.ADMIN: frozenset(Action),
}

SENSITIVE = frozenset(
    {Action.BREAK_GLASS, Action.MANAGE_KEYS, Action.MANAGE_ENVIRONMENT, Action.MANAGE_PEOPLE},
)
"""What needs a fresh proof of who asks, besides the permission (ADR 0067). Never safe mode: seconds count there."""

ANY_ENVIRONMENT = "*"
"""A grant under this name holds in every environment; what belongs to no environment is authorised under it."""

Grants = Mapping[str, frozenset[Role]]
"""Roles by environment key or ANY_ENVIRONMENT."""


class Actor(msgspec.Struct, frozen=True):
    """An authenticated principal. `name` is what history shows, e.g. `mara@example.com` or `rollout:new-model`."""

    kind: Literal["person", "token", "sdk", "system"]
    name: str
    grants: Grants = {}
    address: str = ""
    """Where the request came from, as the trusted proxies say."""
    person: str = ""
    """Id of the human behind it: the person, a personal token's owner or a service token's maker. The two-person rule
    compares this."""
    credential: str = ""
    """Id of the session, token or key that was shown."""
    machine: bool = False
    """A service token: `person` made it and answers for it, but is not it."""
    stage: Literal["", "factor", "enrol"] = ""
    """What a sign-in still lacks: the second factor, or to set one up. Until then it opens nothing else."""
    stale: bool = False
    """Who this is was proven too long ago for what is SENSITIVE; or never, by a token not made for that."""
    proofs: tuple[str, ...] = ()
    """How they can prove it now: see StepUpRequiredError."""
    networks: tuple[str, ...] = ()
    """Where this credential works; empty = wherever its holder does."""
    sdk_key: str = ""
    """The fingerprint of the SDK key that was shown, as NATS subjects have it: telemetry is counted under it."""

    def roles(self, environment: str) -> frozenset[Role]:
        return self.grants.get(environment, frozenset()) | self.grants.get(ANY_ENVIRONMENT, frozenset())

    @property
    def human(self) -> str:
        """Id of the person whose own hand this is, by a session or a token of theirs; empty for machines."""
        return "" if self.machine else self.person

    @property
    def principal(self) -> str:
        """What counts as one head for approvals and rate limits."""
        return f"person:{self.person}" if self.person else f"{self.kind}:{self.name}"


def system_actor(name: str) -> Actor:
    """The control plane itself, e.g. `rollout:<key>`: may do anything, and history says it did."""
    return Actor("system", name, {ANY_ENVIRONMENT: frozenset({Role.ADMIN})})


def allows(grants: Grants, action: Action, environment: str) -> bool:
    roles = grants.get(environment, frozenset()) | grants.get(ANY_ENVIRONMENT, frozenset())
    return any(action in PERMISSIONS[role] for role in roles)


def authorize(actor: Actor, action: Action, environment: str) -> None:
    """Raises ForbiddenError unless one of the actor's roles in `environment` allows `action`.

    Raises:
        StepUpRequiredError: they may, but what is SENSITIVE needs a fresh proof first.
    """
    if not allows(actor.grants, action, environment):
        where = "every environment" if environment == ANY_ENVIRONMENT else environment
        raise ForbiddenError(f"{actor.name} may not {action.words} in {where}")
    if action in SENSITIVE:
        require_fresh(actor)


def require_fresh(actor: Actor) -> None:
    """Raises StepUpRequiredError when who this is was proven too long ago."""
    if actor.stale:
        machine = "this token was not made for what is sensitive: make one with `brownout token create --sensitive`"
        raise StepUpRequiredError("confirm that it is you" if actor.proofs else machine, actor.proofs)


def readable(actor: Actor, environments: list[str]) -> list[str]:
    """Those of `environments` that the actor may read."""
    return [key for key in environments if allows(actor.grants, Action.READ, key)]
