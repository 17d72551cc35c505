"""What the access routes take and give. Secrets appear once, in the answer that made them."""

from datetime import datetime

import msgspec

from controlplane.access.audit import AuditLine
from controlplane.access.people import Person
from controlplane.access.queries.credentials import KeyRow, TokenRow
from controlplane.access.sessions import SessionInfo
from controlplane.dto import Input

GrantsJson = dict[str, list[str]]
"""Roles by environment key; `*` is every environment."""


class SignInInput(Input, frozen=True):
    email: str
    password: str

    def __repr__(self) -> str:
        return "SignInInput(…)"


class LinkInput(Input, frozen=True):
    """`email` is needed by the setup link only."""

    link: str
    password: str
    email: str = ""
    name: str = ""

    def __repr__(self) -> str:
        return "LinkInput(…)"


class PasswordInput(Input, frozen=True):
    old: str
    new: str

    def __repr__(self) -> str:
        return "PasswordInput(…)"


class WhoAmI(msgspec.Struct, frozen=True):
    """`csrf` goes into the header X-CSRF-Token of whatever a browser's session changes; empty for tokens."""

    kind: str
    name: str
    person: str
    grants: GrantsJson
    csrf: str


class InviteInput(Input, frozen=True):
    email: str
    name: str = ""
    grants: GrantsJson = msgspec.field(default_factory=dict)


class InvitationOutput(msgspec.Struct, frozen=True):
    """`link` works once; it is shown now and never again."""

    person: str
    email: str
    link: str
    expires_at: datetime


class GrantInput(Input, frozen=True):
    environment: str
    role: str


class People(msgspec.Struct, frozen=True):
    items: list[Person]


class SessionList(msgspec.Struct, frozen=True):
    items: list[SessionInfo]


class TokenInput(Input, frozen=True):
    """A personal token. `scope` absent: everything you may do. `lasts_s`: seconds until it expires."""

    name: str
    scope: GrantsJson | None = None
    lasts_s: int = 90 * 24 * 3600


class ServiceTokenInput(Input, frozen=True):
    """`lasts_s` absent: until it is revoked."""

    name: str
    grants: GrantsJson
    lasts_s: int | None = None


class TokenOutput(msgspec.Struct, frozen=True):
    """`token` is shown now and never again."""

    id: str
    name: str
    token: str
    expires_at: datetime | None


class TokenList(msgspec.Struct, frozen=True):
    items: list[TokenRow]


class KeyInput(Input, frozen=True):
    name: str
    expires_at: datetime | None = None


class RotateInput(Input, frozen=True):
    """How long the old key goes on working, in seconds."""

    overlap_s: int = 24 * 3600


class KeyOutput(msgspec.Struct, frozen=True):
    """`key` is shown now and never again."""

    id: str
    environment: str
    name: str
    key: str
    expires_at: datetime | None


class KeyList(msgspec.Struct, frozen=True):
    items: list[KeyRow]


class AuditPage(msgspec.Struct, frozen=True):
    """The newest first; `next` is the following page's `before`."""

    items: list[AuditLine]
    next: int | None
