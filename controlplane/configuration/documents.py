"""A whole environment as one document: out, and back in as one commit."""

import msgspec

from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration.changes import Changes
from controlplane.configuration.store import Store
from controlplane.configuration.store.basis import Expected
from controlplane.configuration.store.values import Change, State
from controlplane.contract.document import Document
from controlplane.contract.kinds import edited, without_owned
from controlplane.contract.pointers import DOCUMENT, pointing_into, relocated
from controlplane.errors import Fault, InvalidInputError
from controlplane.kit.clock import Clock
from controlplane.kit.strict_yaml import load_yaml


def read_json(raw: bytes) -> Document:
    """Raises InvalidInputError when it is no document of ours. Strictness (duplicate keys, …) is the caller's."""
    try:
        return msgspec.json.decode(raw, type=Document)
    except msgspec.DecodeError as error:
        fault = Fault("invalid_document", str(error))
        raise InvalidInputError(f"not an exported environment: {error}", (fault,)) from None


def read_yaml(raw: bytes) -> Document:
    """Raises InvalidInputError when it is not YAML as we accept it, or no document of ours."""
    return read_json(msgspec.json.encode(load_yaml(raw)))


class Imported(msgspec.Struct, frozen=True):
    """What an import did, or (not `applied`) would do. With faults it is refused. `revision` is then the head's."""

    applied: bool
    revision: int
    faults: tuple[Fault, ...]
    effective: tuple[str, ...]
    changes: tuple[Change, ...]


class Documents:
    def __init__(self, store: Store, changes: Changes, clock: Clock) -> None:
        self._store = store
        self._changes = changes
        self._clock = clock

    async def export(self, actor: Actor, environment: str, revision: int | None = None) -> Document:
        authorize(actor, Action.EXPORT, environment)
        state = await self._store.state(environment, revision)
        grouped: dict[str, dict[str, msgspec.Raw]] = {}
        for ref, spec in sorted(state.resources.items()):
            if ref.kind in edited():
                grouped.setdefault(ref.kind, {})[ref.key] = msgspec.Raw(without_owned(ref.kind, spec))
        return Document(
            resources=grouped, environment=environment, revision=state.head.revision, exported_at=self._clock.now()
        )

    async def import_(
        self,
        actor: Actor,
        environment: str,
        document: Document,
        *,
        message: str = "",
        prune: bool = False,
        dry_run: bool = False,
        expected_revision: Expected = None,
    ) -> Imported:
        """Puts what differs; with `prune` also deletes what the document does not have.

        Raises:
            InvalidInputError: pointers point into the document.
            ConflictError: somebody committed while we compared.
        """
        authorize(actor, Action.IMPORT, environment)
        _check_kinds(document)
        state = await self._store.state(environment)
        ops = plan(document, state, prune=prune)
        if not ops:
            return Imported(False, state.head.revision, (), (), ())
        if dry_run:
            preview = await self._changes.preview(actor, environment, ops, action=Action.IMPORT)
            faults = relocated(preview.faults, DOCUMENT, ops)
            return Imported(False, state.head.revision, faults, preview.effective, preview.changes)
        with pointing_into(DOCUMENT, ops):
            commit = await self._changes.commit(
                actor,
                environment,
                ops,
                message or "Import",
                action=Action.IMPORT,
                expected_revision=state.head.revision if expected_revision is None else expected_revision,
            )
        return Imported(not commit.unchanged, commit.revision, (), commit.effective, commit.changes)


def plan(document: Document, state: State, *, prune: bool) -> tuple[Operation, ...]:
    """The operations that bring `state` to the document."""
    present = {(ref.kind, ref.key): spec for ref, spec in state.resources.items()}
    named = {(kind, key): spec for kind, specs in document.resources.items() for key, spec in specs.items()}
    puts = [
        Operation("put", kind, key, spec)
        for (kind, key), spec in named.items()
        if without_owned(kind, present.get((kind, key), b"")) != _canonical(spec)
    ]
    dels = [
        Operation("del", kind, key)
        for kind, key in sorted(present)
        if prune and kind in edited() and (kind, key) not in named
    ]
    return (*puts, *dels)


def _canonical(spec: msgspec.Raw) -> bytes:
    """As the store writes it, but for defaults that are spelled out; the store sees through those."""
    return msgspec.json.encode(msgspec.json.decode(spec), order="sorted")


def _check_kinds(document: Document) -> None:
    unknown = [kind for kind in document.resources if kind not in edited()]
    if unknown:
        faults = tuple(
            Fault("unknown_kind", f"there is no kind {kind!r} to import", f"/resources/{kind}") for kind in unknown
        )
        raise InvalidInputError(faults[0].message, faults)
