"""What the store answers with."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypedDict

import msgspec

from brownout.model.kinds import is_plane
from brownout.model.resources import ResourceRef
from controlplane.errors import Fault

NOTIFY_CHANNEL = "brownout_revision"
"""Every commit notifies it; the payload is the environment's key."""


class Environment(msgspec.Struct, frozen=True):
    key: str
    name: str
    epoch: int
    revision: int
    created_at: datetime
    production: bool
    """Carries the coloured edge, and asks people for its key before something big."""


class Head(msgspec.Struct, frozen=True):
    """Where an environment's log stands. Revision 0 with an empty chain: nothing was ever committed."""

    environment: str
    epoch: int
    revision: int
    chain: str


class Change(msgspec.Struct, frozen=True):
    """One resource before and after, as canonical JSON; None where it does not exist."""

    kind: str
    key: str
    before: bytes | None
    after: bytes | None

    @property
    def ref(self) -> ResourceRef:
        return ResourceRef(self.kind, self.key)


class FieldChange(msgspec.Struct, frozen=True):
    """One part of a resource, as JSON, before and after; `pointer` is into the spec. None where it is absent."""

    pointer: str
    before: bytes | None
    after: bytes | None


class ResourceDiff(msgspec.Struct, frozen=True):
    """One resource that differs between two revisions."""

    kind: str
    key: str
    before: bytes | None
    after: bytes | None
    fields: tuple[FieldChange, ...]


class Diff(msgspec.Struct, frozen=True):
    """What leads from one revision to another; `end` may lie before `start`."""

    environment: str
    start: int
    end: int
    resources: tuple[ResourceDiff, ...]


class ResourceQuery(TypedDict, total=False):
    """Which resources of a kind to list: every field holds. Up to `limit` keys after `after`, in order."""

    search: str
    """Words: of the key, the description, the owner or the tags."""
    tags: Sequence[str]
    type: str
    """Of flags."""
    after: str
    limit: int


class CommitQuery(TypedDict, total=False):
    """Which commits to list: every field holds, and None says nothing. Up to `limit`, the newest first."""

    before: int | None
    """Revisions below this one, which pages backwards; `after`: above."""
    after: int | None
    limit: int
    author: str | None
    kind: str | None
    key: str | None
    since: datetime | None
    """Made at this instant or later; `until`: before."""
    until: datetime | None


class Commit(msgspec.Struct, frozen=True):
    """What a commit did. `effective` says in words what becomes different for whom.

    When nothing would have changed no revision is made: `unchanged` is set, `revision` is the head's and
    `changes` is empty. `replayed` is set when an idempotency key answered with the earlier commit.
    """

    environment: str
    revision: int
    epoch: int
    chain: str
    author: str
    message: str
    created_at: datetime
    effective: tuple[str, ...]
    changes: tuple[Change, ...]
    unchanged: bool = False
    replayed: bool = False


class LoggedCommit(msgspec.Struct, frozen=True):
    """A line of history. `refs` are the first few of the `changes` resources it touched."""

    environment: str
    revision: int
    epoch: int
    author: str
    message: str
    created_at: datetime
    effective: tuple[str, ...]
    changes: int
    refs: tuple[ResourceRef, ...]


class Preview(msgspec.Struct, frozen=True):
    """What a commit of these operations would do now. With faults it would be refused, and the rest is empty."""

    head: Head
    faults: tuple[Fault, ...]
    effective: tuple[str, ...]
    changes: tuple[Change, ...]


class Resource(msgspec.Struct, frozen=True):
    """A resource at the head, and the commit that last changed it."""

    kind: str
    key: str
    spec: bytes
    revision: int
    changed_at: datetime
    changed_by: str


class ResourcePage(msgspec.Struct, frozen=True):
    """`next` is the `after` of the following page, None on the last."""

    items: tuple[Resource, ...]
    next: str | None


class State(msgspec.Struct, frozen=True):
    """Everything in an environment at one revision; specs as canonical JSON."""

    head: Head
    resources: Mapping[ResourceRef, bytes]

    @property
    def served(self) -> dict[tuple[str, str], bytes]:
        """What SDKs hold of it: everything but plane kinds, which they may not read."""
        return {(ref.kind, ref.key): spec for ref, spec in self.resources.items() if not is_plane(ref.kind)}


class StoredEnvelope(msgspec.Struct, frozen=True):
    """One revision as it is published: `payload` and `signature` go out as they are (brownout.wire.Envelope).

    `reset` marks one whose payload only says: fetch the snapshot (an oversize commit, or a fence).
    """

    revision: int
    epoch: int
    previous_chain: str
    chain: str
    payload: bytes
    signature: str
    reset: bool


BrokenCode = Literal["gap", "chain", "signature", "seal", "key", "envelope", "before", "head", "state"]


class BrokenRevision(msgspec.Struct, frozen=True):
    """The first revision that does not hold, and how; the ones before it do."""

    revision: int
    code: BrokenCode
    message: str


class VerifiedHistory(msgspec.Struct, frozen=True):
    """`revisions` hold; `broken` is None when that is all of them."""

    environment: str
    revisions: int
    broken: BrokenRevision | None
