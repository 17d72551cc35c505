"""What access tells: people, credentials, proposals' approvals, the audit log's lines. No SQL: the command line reads these."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from controlplane.access.actor import Role
from controlplane.access.traffic import ALL_USES, KeyUse


class Event(StrEnum):
    """What the audit log can say happened."""

    SETUP = "setup"
    SIGN_IN = "sign_in"
    SIGN_OUT = "sign_out"
    SESSION_ENDED = "session_ended"
    PASSWORD_SET = "password_set"  # noqa: S105 - the name of an event
    PROVEN = "proven"
    SECOND_FACTOR_ADDED = "second_factor_added"
    SECOND_FACTOR_REMOVED = "second_factor_removed"
    SECOND_FACTOR_RESET = "second_factor_reset"
    RECOVERY_CODES_MADE = "recovery_codes_made"
    PERSON_INVITED = "person_invited"
    PERSON_DISABLED = "person_disabled"
    PERSON_ENABLED = "person_enabled"
    ROLE_GRANTED = "role_granted"
    ROLE_REVOKED = "role_revoked"
    KEY_CREATED = "key_created"
    KEY_ROTATED = "key_rotated"
    KEY_REVOKED = "key_revoked"
    TOKEN_CREATED = "token_created"  # noqa: S105 - the name of an event
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - the name of an event
    TOKEN_HANDED_OVER = "token_handed_over"  # noqa: S105 - the name of an event
    SSO_CONFIRMED = "sso_confirmed"
    SSO_REFUSED = "sso_refused"
    SIGNING_KEY_ANNOUNCED = "signing_key_announced"
    SIGNING_KEY_SWITCHED = "signing_key_switched"
    COMMIT = "commit"
    RULE_CHANGED = "rule_changed"
    ENVIRONMENT_CHANGED = "environment_changed"
    PROPOSED = "proposed"
    PROPOSAL_EDITED = "proposal_edited"
    PROPOSAL_WITHDRAWN = "proposal_withdrawn"
    APPROVED = "approved"
    BREAK_GLASS = "break_glass"
    BREAK_GLASS_ENDED = "break_glass_ended"
    BREAK_GLASS_REVIEWED = "break_glass_reviewed"
    ADDRESSES_CHANGED = "addresses_changed"
    DENIED = "denied"
    EXPORTED = "exported"
    NOTIFICATIONS_CHANGED = "notifications_changed"


AuditOutcome = Literal["ok", "refused"]


class Entry(msgspec.Struct, frozen=True):
    """One event. `environment` is empty for what belongs to none; `at_ms` is Unix ms."""

    at_ms: int
    event: Event
    outcome: AuditOutcome
    actor: str
    kind: str
    credential: str
    address: str
    environment: str = ""
    target: str = ""
    reason: str = ""
    detail: dict[str, str | int] = {}


class AuditLine(msgspec.Struct, frozen=True):
    """An entry with its place in the chain."""

    sequence: int
    entry: Entry
    chain: str


class Grant(msgspec.Struct, frozen=True):
    """A role somewhere. `source` `sso`: the identity provider gives and takes it."""

    environment: str
    role: Role
    source: str


class Person(msgspec.Struct, frozen=True):
    id: str
    email: str
    name: str
    grants: tuple[Grant, ...]
    has_password: bool
    has_sso: bool
    created_at: datetime
    disabled_at: datetime | None


class Approval(msgspec.Struct, frozen=True):
    approver: str
    note: str
    approved_at: datetime
    counts: bool
    why_not: str = ""
    """Why it does not count: a role that was taken, an account that another hand in the proposal had a part in, …"""


class SessionInfo(msgspec.Struct, frozen=True):
    id: str
    person: str
    method: str
    address: str
    agent: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    current: bool


class AddressRow(msgspec.Struct, frozen=True):
    """`environment` and `role` may be `*`, every one. `networks`: CIDR, at least one."""

    environment: str
    role: str
    networks: tuple[str, ...]
    changed_by: str
    changed_at: datetime


class GlassRow(msgspec.Struct, frozen=True):
    """`uses` are the revisions, rule changes and so on that went through while the glass was broken."""

    id: int
    environment: str
    principal: str
    actor: str
    reason: str
    started_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    uses: list[str]
    reviewed_by: str | None
    reviewed_at: datetime | None
    review: str | None
    opened: int


class TokenRow(msgspec.Struct, frozen=True):
    """`owner`: whose personal token it is. `person`: who answers for it, and whose roles bound it; none for what the
    operator of the control plane made. `parent`: the token it was made with. `handed_by`: who gave it to `person`."""

    id: str
    hint: str
    name: str
    owner: str | None
    made_by: str
    person: str | None
    parent: str | None
    handed_by: str | None
    grants: dict[str, list[str]]
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None
    sensitive: bool = False
    """Made for what needs a fresh proof otherwise."""
    proven_at: datetime | None = None
    networks: tuple[str, ...] = ()
    """Where it works; empty = wherever its holder does."""


class KeyRow(msgspec.Struct, frozen=True):
    id: str
    hint: str
    environment: str
    name: str
    made_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None
    uses: tuple[KeyUse, ...] = ALL_USES
