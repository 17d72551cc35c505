"""What the API takes and gives. Specs travel as the exact JSON that is stored; one that is read has its defaults, too."""

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Literal

import msgspec

from controlplane.errors import Fault

if TYPE_CHECKING:  # the CLI reads these structs without loading the store, or what specs are made of
    from brownout.model.resources import ResourceRef
    from brownout.wire import Operation
    from controlplane.configuration.documents import Imported
    from controlplane.configuration.store import StaleRevisionError, values

Json = msgspec.Raw


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sent to us: an unknown field is a mistake, not an extension."""


class EnvironmentInput(Input, frozen=True):
    key: str
    name: str = ""


class EnvironmentChange(Input, frozen=True):
    """`production`: it carries a coloured edge in the console, which asks for its key before something big."""

    production: bool


class EnvironmentOutput(msgspec.Struct, frozen=True):
    key: str
    name: str
    epoch: int
    revision: int
    created_at: datetime
    production: bool


class Environments(msgspec.Struct, frozen=True):
    items: tuple[EnvironmentOutput, ...]


def in_full(kind: str, spec: bytes) -> Json:
    """A stored spec with the defaults that it leaves out, so that whoever reads it finds the fields that there are."""
    fields = msgspec.json.decode(spec, type=dict[str, Json])
    return Json(msgspec.json.encode({**_defaults(kind), **fields}, order="sorted"))


@cache
def _defaults(kind: str) -> dict[str, Json]:
    from brownout.model.kinds import KINDS

    found = {
        field.encode_name: field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        for field in msgspec.structs.fields(KINDS[kind].struct)
        if not field.required
    }
    return {name: Json(msgspec.json.encode(default)) for name, default in found.items() if default is not None}


class ResourceOutput(msgspec.Struct, frozen=True):
    """`revision` is the one that last changed it, by `changed_by`. `spec` has every field, but for optional ones that
    are not set."""

    kind: str
    key: str
    revision: int
    changed_at: datetime
    changed_by: str
    spec: Json

    @classmethod
    def of(cls, found: "values.Resource") -> "ResourceOutput":
        return cls(
            found.kind, found.key, found.revision, found.changed_at, found.changed_by, in_full(found.kind, found.spec)
        )


class ResourcePage(msgspec.Struct, frozen=True):
    """In order of keys; `next` is the following page's `after`."""

    items: tuple[ResourceOutput, ...]
    next: str | None


class Ref(msgspec.Struct, frozen=True):
    kind: str
    key: str

    @classmethod
    def of(cls, ref: "ResourceRef") -> "Ref":
        return cls(ref.kind, ref.key)


class Refs(msgspec.Struct, frozen=True):
    items: tuple[Ref, ...]


class OperationInput(Input, frozen=True):
    """`put` needs a spec, `del` has none."""

    op: Literal["put", "del"]
    kind: str
    key: str
    spec: Json | msgspec.UnsetType = msgspec.UNSET

    def operation(self) -> "Operation":
        from brownout.wire import Operation

        return Operation(self.op, self.kind, self.key, self.spec)


class CommitInput(Input, frozen=True):
    ops: tuple[OperationInput, ...]
    message: str

    def operations(self) -> "tuple[Operation, ...]":
        return tuple(op.operation() for op in self.ops)


class ChangeOutput(msgspec.Struct, frozen=True):
    """A resource before and after; null where it does not exist."""

    kind: str
    key: str
    before: Json
    after: Json

    @classmethod
    def of(cls, change: "values.Change") -> "ChangeOutput":
        return cls(change.kind, change.key, _json(change.before), _json(change.after))


class FieldChangeOutput(msgspec.Struct, frozen=True):
    pointer: str
    before: Json
    after: Json

    @classmethod
    def of(cls, change: "values.FieldChange") -> "FieldChangeOutput":
        return cls(change.pointer, _json(change.before), _json(change.after))


class ResourceDiffOutput(msgspec.Struct, frozen=True):
    kind: str
    key: str
    before: Json
    after: Json
    fields: tuple[FieldChangeOutput, ...]

    @classmethod
    def of(cls, diff: "values.ResourceDiff") -> "ResourceDiffOutput":
        return cls(
            diff.kind, diff.key, _json(diff.before), _json(diff.after), tuple(map(FieldChangeOutput.of, diff.fields))
        )


class CommitOutput(msgspec.Struct, frozen=True):
    """`effective` says in words what becomes different. `unchanged`: nothing differed, no revision was made."""

    environment: str
    revision: int
    epoch: int
    chain: str
    author: str
    message: str
    created_at: datetime
    effective: tuple[str, ...]
    changes: tuple[ChangeOutput, ...]
    unchanged: bool = False
    replayed: bool = False
    warnings: tuple[str, ...] = ()
    """What was saved and will probably not do what was meant."""

    @classmethod
    def of(cls, commit: "values.Commit", warnings: tuple[str, ...] = ()) -> "CommitOutput":
        return cls(
            environment=commit.environment,
            revision=commit.revision,
            epoch=commit.epoch,
            chain=commit.chain,
            author=commit.author,
            message=commit.message,
            created_at=commit.created_at,
            effective=commit.effective,
            changes=tuple(map(ChangeOutput.of, commit.changes)),
            unchanged=commit.unchanged,
            replayed=commit.replayed,
            warnings=warnings,
        )


class ConflictOutput(msgspec.Struct, frozen=True):
    """Both sides of a stale edit: who committed what since `expected`, and what you would have changed."""

    expected: int
    head: int
    authors: tuple[str, ...]
    theirs: tuple[ChangeOutput, ...]
    mine: tuple[ChangeOutput, ...]

    @classmethod
    def of(cls, error: "StaleRevisionError") -> "ConflictOutput":
        return cls(
            expected=error.expected,
            head=error.head,
            authors=tuple(sorted({commit.author for commit in error.commits})),
            theirs=tuple(map(ChangeOutput.of, error.theirs)),
            mine=tuple(map(ChangeOutput.of, error.mine)),
        )


class PreviewOutput(msgspec.Struct, frozen=True):
    """What a commit would do at `revision`; with faults it would be refused."""

    revision: int
    faults: tuple[Fault, ...]
    effective: tuple[str, ...]
    changes: tuple[ChangeOutput, ...]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, preview: "values.Preview", faults: tuple[Fault, ...], warnings: tuple[str, ...] = ()
    ) -> "PreviewOutput":
        """`faults` are the preview's, pointing into what was sent."""
        changes = tuple(map(ChangeOutput.of, preview.changes))
        return cls(preview.head.revision, faults, preview.effective, changes, warnings)


class LoggedCommitOutput(msgspec.Struct, frozen=True):
    """A line of history; `refs` are the first few of the `changes` resources it touched."""

    revision: int
    epoch: int
    author: str
    message: str
    created_at: datetime
    effective: tuple[str, ...]
    changes: int
    refs: tuple[Ref, ...]

    @classmethod
    def of(cls, commit: "values.LoggedCommit") -> "LoggedCommitOutput":
        return cls(
            revision=commit.revision,
            epoch=commit.epoch,
            author=commit.author,
            message=commit.message,
            created_at=commit.created_at,
            effective=commit.effective,
            changes=commit.changes,
            refs=tuple(map(Ref.of, commit.refs)),
        )


class History(msgspec.Struct, frozen=True):
    """Newest first; `next` is the following page's `before`."""

    items: tuple[LoggedCommitOutput, ...]
    next: int | None


class DiffOutput(msgspec.Struct, frozen=True):
    """What leads from one revision to another; `fields` are JSON pointers into the spec."""

    start: int
    end: int
    resources: tuple[ResourceDiffOutput, ...]

    @classmethod
    def of(cls, diff: "values.Diff") -> "DiffOutput":
        return cls(diff.start, diff.end, tuple(map(ResourceDiffOutput.of, diff.resources)))


class RestoreInput(Input, frozen=True):
    """Without `refs`, everything but safe mode."""

    message: str = ""
    refs: tuple[Ref, ...] = ()

    def references(self) -> "tuple[ResourceRef, ...]":
        from brownout.model.resources import ResourceRef

        return tuple(ResourceRef(ref.kind, ref.key) for ref in self.refs)


class ImportOutput(msgspec.Struct, frozen=True):
    """What an import did or, when not `applied`, would do."""

    applied: bool
    revision: int
    faults: tuple[Fault, ...]
    effective: tuple[str, ...]
    changes: tuple[ChangeOutput, ...]

    @classmethod
    def of(cls, done: "Imported") -> "ImportOutput":
        changes = tuple(map(ChangeOutput.of, done.changes))
        return cls(done.applied, done.revision, done.faults, done.effective, changes)


class BrokenOutput(msgspec.Struct, frozen=True):
    """The first revision that does not hold, and how."""

    revision: int
    code: str
    message: str


class VerificationOutput(msgspec.Struct, frozen=True):
    """`revisions` hold; `broken` is null when that is all of them."""

    revisions: int
    broken: BrokenOutput | None

    @classmethod
    def of(cls, found: "values.VerifiedHistory") -> "VerificationOutput":
        broken = found.broken
        shown = BrokenOutput(broken.revision, broken.code, broken.message) if broken else None
        return cls(found.revisions, shown)


class StateOutput(msgspec.Struct, frozen=True):
    """A whole environment at one revision: kind → key → spec."""

    environment: str
    epoch: int
    revision: int
    chain: str
    resources: dict[str, dict[str, Json]]

    @classmethod
    def of(cls, state: "values.State") -> "StateOutput":
        grouped: dict[str, dict[str, Json]] = {}
        for ref, spec in sorted(state.resources.items()):
            grouped.setdefault(ref.kind, {})[ref.key] = Json(spec)
        head = state.head
        return cls(head.environment, head.epoch, head.revision, head.chain, grouped)


def _json(spec: bytes | None) -> Json:
    """Absent is `null`: msgspec cannot read a union of Raw and None back."""
    return Json(b"null" if spec is None else spec)
