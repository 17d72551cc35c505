"""When someone saved the same resource since an edit began: what both changed, field by field, and the merge of it."""

from collections.abc import Mapping

import msgspec

from brownout.model.faults import InvalidResource
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from brownout.wire import Operation
from controlplane.configuration.merge import Clash, Merged, merge
from controlplane.configuration.store.basis import Bases
from controlplane.configuration.store.values import Resource
from controlplane.web.editing.draft import Document
from controlplane.web.editing.jsondiff import diff_bytes, pretty
from controlplane.web.kit.parts import DiffLine
from controlplane.web.kit.visit import Visit

MINE, THEIRS = "mine", "theirs"
PICK = "pick:"
"""A form's field `pick:/default` says whose value that field gets."""


class Change(msgspec.Struct, frozen=True):
    """One edit. `spec` None: it is deleted. `base` is the revision that it was made from, 0: it is new.

    `onto` is the revision of theirs that was seen beside it, 0: they deleted it; None: no one saved meanwhile, as far
    as the editor knows. `picks`: whose value the fields get that both changed.
    """

    environment: str
    kind: str
    key: str
    spec: bytes | None
    base: int
    onto: int | None = None
    picks: Mapping[str, str] = {}

    @property
    def ref(self) -> ResourceRef:
        return ResourceRef(self.kind, self.key)

    @property
    def bases(self) -> Bases:
        return {self.ref: self.base if self.onto is None else self.onto}

    def ops(self, spec: bytes | None) -> tuple[Operation, ...]:
        if spec is None:
            return (Operation("del", self.kind, self.key),)
        return (Operation("put", self.kind, self.key, msgspec.Raw(spec)),)


class Field(msgspec.Struct, frozen=True):
    """One that both changed. `pick` is what was chosen, or empty."""

    pointer: str
    mine: str
    theirs: str
    pick: str


class Conflict(msgspec.Struct, frozen=True):
    """Somebody saved this resource after the edit began."""

    author: str
    revision: int
    theirs: tuple[DiffLine, ...]
    yours: tuple[DiffLine, ...]
    fields: tuple[Field, ...]

    @property
    def undecided(self) -> bool:
        return not all(field.pick for field in self.fields)


class Settled(msgspec.Struct, frozen=True):
    """What would be saved, and the conflict that it settles, if there is any."""

    spec: bytes | None
    conflict: Conflict | None = None


async def settle(visit: Visit, change: Change, found: Resource | None) -> Settled:
    """Merges with `found`, what is saved now, if that is not what the edit was made from."""
    now = found.revision if found else 0
    if change.base in {0, now}:  # 0: it is new, and merging with what is there already would overwrite that
        return Settled(change.spec)
    start = await visit.services.reads.state(visit.actor, change.environment, change.base)
    before = start.resources.get(change.ref)
    theirs = found.spec if found else None
    picks = change.picks if change.onto == now else {}  # a choice between other values is none
    mine_kept = frozenset(pointer for pointer, pick in picks.items() if pick == MINE)
    merged = merge(_decoded(before), _decoded(change.spec), _decoded(theirs), keep_mine=mine_kept)
    conflict = Conflict(
        author=found.changed_by if found else "Another person",
        revision=now,
        theirs=diff_bytes(before, theirs),
        yours=diff_bytes(before, change.spec),
        fields=tuple(_field(clash, picks.get(clash.pointer, "")) for clash in merged.clashes),
    )
    return Settled(_encoded(change, merged), conflict)


def picks_of(form: Mapping[str, str]) -> Mapping[str, str]:
    found = {name.removeprefix(PICK): value for name, value in form.items() if name.startswith(PICK)}
    return {pointer: pick for pointer, pick in found.items() if pick in {MINE, THEIRS}}


def _field(clash: Clash, pick: str) -> Field:
    return Field(clash.pointer, _shown(clash.mine), _shown(clash.theirs), pick)


def _shown(value: object) -> str:
    return "not set" if value is None else pretty(value)


def _decoded(spec: bytes | None) -> object:
    return None if spec is None else msgspec.json.decode(spec)


def _encoded(change: Change, merged: Merged) -> bytes | None:
    if merged.document is None:
        return None
    return encoded(change.kind, change.key, merged.document)


def encoded(kind: str, key: str, document: Document) -> bytes:
    """Canonical when it parses, else as it is: the preview then names what is wrong."""
    try:
        return encode(parse(kind, key, document))
    except InvalidResource:
        return msgspec.json.encode(document)
