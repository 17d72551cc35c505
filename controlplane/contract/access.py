"""What the access routes take and give. Secrets appear once, in the answer that made them."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from brownout.wire import Operation
from controlplane.access.traffic import ALL_USES, KeyUse
from controlplane.access.values import AddressRow, Approval, AuditLine, GlassRow, KeyRow, Person, SessionInfo, TokenRow
from controlplane.contract.dto import Input, OperationInput, PreviewOutput
from controlplane.contract.pointers import OPERATIONS, relocated

if TYPE_CHECKING:  # the CLI reads these structs without loading the store
    from controlplane.access.proposals import Proposal, ProposalView
    from controlplane.configuration.store.values import ResourceDiff

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
    """`keep_tokens`: personal API tokens go on; they end otherwise, in case somebody else knew the old password."""

    old: str
    new: str
    keep_tokens: bool = False

    def __repr__(self) -> str:
        return "PasswordInput(…)"


class WhoAmI(msgspec.Struct, frozen=True):
    """`csrf` goes into the header X-CSRF-Token of whatever a browser's session changes; empty for tokens."""

    kind: str
    name: str
    person: str
    grants: GrantsJson
    csrf: str
    stage: str = ""
    """`factor`: show the second factor (POST /session/second-factor); `enrol`: set one up first."""
    proofs: tuple[str, ...] = ()
    """How you can prove who you are: `password`, `code`, `passkey`, `recovery`, `sso`."""


class ProofInput(Input, frozen=True):
    """One of them. `code`: of an authenticator app, or a recovery code; `passkey`: what the browser answered."""

    password: str = ""
    code: str = ""
    passkey: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return "ProofInput(…)"


class PasskeyInput(Input, frozen=True):
    """What `navigator.credentials.get` gave, as its `toJSON()` says."""

    passkey: dict[str, Any]


class NewPasskeyInput(Input, frozen=True):
    """What `navigator.credentials.create` gave, as its `toJSON()` says; `name` tells it from others."""

    passkey: dict[str, Any]
    name: str


class PasskeyOptions(msgspec.Struct, frozen=True):
    """`options`: for `PublicKeyCredential.parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON`."""

    options: dict[str, Any]


class CodeInput(Input, frozen=True):
    code: str


class NameInput(Input, frozen=True):
    name: str


class AddressRuleInput(Input, frozen=True):
    """`environment` and `role` may be `*`. `force`: even if your own address is not in the list."""

    networks: tuple[str, ...]
    environment: str = "*"
    role: str = "*"
    force: bool = False


class AddressRuleList(msgspec.Struct, frozen=True):
    items: list[AddressRow]


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


class DisableInput(Input, frozen=True):
    """`heir`: the id of who takes over the tokens of their machines; without, these end."""

    heir: str = ""


class People(msgspec.Struct, frozen=True):
    items: list[Person]


class SessionList(msgspec.Struct, frozen=True):
    items: list[SessionInfo]


class TokenInput(Input, frozen=True):
    """A personal token. `scope` absent: everything you may do. `lasts_s`: seconds until it expires; absent: 90 days."""

    name: str
    scope: GrantsJson | None = None
    lasts_s: int | None = None
    sensitive: bool = False
    """May do what needs a fresh proof otherwise: keys, people, tokens, environments, broken glass."""
    networks: tuple[str, ...] = ()
    """Where it works, e.g. `10.0.0.0/8`; empty = anywhere."""


class ServiceTokenInput(Input, frozen=True):
    """A machine's token. It never does more than who made it may. `lasts_s` absent: 90 days."""

    name: str
    grants: GrantsJson
    lasts_s: int | None = None
    sensitive: bool = False
    networks: tuple[str, ...] = ()


class TokenOutput(msgspec.Struct, frozen=True):
    """`token` is shown now and never again."""

    id: str
    name: str
    token: str
    expires_at: datetime | None


class TokenList(msgspec.Struct, frozen=True):
    items: list[TokenRow]


class KeyInput(Input, frozen=True):
    """`uses`: `evaluate` follows the configuration, `report` sends presence and telemetry."""

    name: str
    expires_at: datetime | None = None
    uses: tuple[KeyUse, ...] = ALL_USES


class RotateInput(Input, frozen=True):
    """How long the old key goes on working, in seconds."""

    overlap_s: int = 24 * 3600


class SigningRotationInput(Input, frozen=True):
    """How long, in seconds, the next key is announced before it signs."""

    overlap_s: int = 300


class KeyOutput(msgspec.Struct, frozen=True):
    """`key` is shown now and never again."""

    id: str
    environment: str
    name: str
    key: str
    expires_at: datetime | None
    uses: tuple[KeyUse, ...]


class KeyList(msgspec.Struct, frozen=True):
    items: list[KeyRow]


class AuditPage(msgspec.Struct, frozen=True):
    """The newest first; `next` is the following page's `before`."""

    items: list[AuditLine]
    next: int | None


class RuleInput(Input, frozen=True):
    requires_approvals: int
    reason: str = ""


class ReasonInput(Input, frozen=True):
    reason: str = ""


class ApproveInput(Input, frozen=True):
    """`edition` is the one that was looked at."""

    edition: int
    note: str = ""


class EditInput(Input, frozen=True):
    """`edition` is the one that the new operations were made from."""

    edition: int
    ops: tuple[OperationInput, ...]
    message: str

    def operations(self) -> tuple[Operation, ...]:
        return tuple(op.operation() for op in self.ops)


class RebaseInput(Input, frozen=True):
    """`prefer` says whose value a field gets that both changed: `mine` is the proposal's."""

    edition: int
    prefer: Literal["mine", "theirs"] | None = None


class ReviewInput(Input, frozen=True):
    review: str


class BreakGlassInput(Input, frozen=True):
    reason: str
    lasts_s: int = 3600


class ProposalOutput(msgspec.Struct, frozen=True):
    """`approved`: enough approvals count; `needed` is how many that is."""

    id: int
    environment: str
    message: str
    author: str
    base_revision: int
    edition: int
    state: str
    revision: int | None
    ops: tuple[Operation, ...]
    approvals: tuple[Approval, ...]
    needed: int
    approved: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, found: "Proposal") -> "ProposalOutput":
        return cls(
            found.id, found.environment, found.message, found.author, found.base_revision, found.edition, found.state,
            found.revision, found.operations, found.approvals, found.needed, found.approved, found.created_at,
            found.updated_at,
        )  # fmt: skip


class ProposalList(msgspec.Struct, frozen=True):
    items: tuple[ProposalOutput, ...]


class TheirChange(msgspec.Struct, frozen=True):
    """A resource at the proposal's base and at the head; null where it does not exist."""

    kind: str
    key: str
    before: msgspec.Raw
    after: msgspec.Raw

    @classmethod
    def of(cls, diff: "ResourceDiff") -> "TheirChange":
        return cls(diff.kind, diff.key, msgspec.Raw(diff.before or b"null"), msgspec.Raw(diff.after or b"null"))


class ProposalDetail(msgspec.Struct, frozen=True):
    """`theirs`: what others changed since the base in the resources it touches; then it is stale and needs a rebase."""

    proposal: ProposalOutput
    stale: bool
    theirs: tuple[TheirChange, ...]
    preview: PreviewOutput

    @classmethod
    def of(cls, view: "ProposalView") -> "ProposalDetail":
        theirs = tuple(TheirChange.of(each) for each in view.theirs)
        faults = relocated(view.preview.faults, OPERATIONS, view.proposal.operations)
        return cls(ProposalOutput.of(view.proposal), view.stale, theirs, PreviewOutput.of(view.preview, faults))


class BrokenGlass(msgspec.Struct, frozen=True):
    """`uses`: what went through alone meanwhile. `reviewed_by` is empty until somebody has signed."""

    id: int
    environment: str
    actor: str
    reason: str
    started_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    uses: tuple[str, ...]
    reviewed_by: str
    review: str

    @classmethod
    def of(cls, row: GlassRow) -> "BrokenGlass":
        return cls(
            row.id, row.environment, row.actor, row.reason, row.started_at, row.expires_at, row.ended_at,
            tuple(row.uses), row.reviewed_by or "", row.review or "",
        )  # fmt: skip


class BrokenGlassList(msgspec.Struct, frozen=True):
    items: tuple[BrokenGlass, ...]
