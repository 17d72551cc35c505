"""From operations to changes: everything a commit decides before it is written. Pure.

Faults point into the operations as sent (`/ops/3/key`) or, where a resource is at fault, into the whole environment's
document (`/flag/web-search/rules/0/serve`): a change can break a resource that was not sent.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from brownout.model import faults as model
from brownout.model.check import check, references
from brownout.model.faults import InvalidResource
from brownout.model.kinds import KINDS
from brownout.model.parse import decode, encode, parse
from brownout.model.resources import Cohort, ResourceRef, Spec
from brownout.wire import Operation
from controlplane.configuration.store.values import Change
from controlplane.contract.kinds import alone, row
from controlplane.contract.specs import is_newer, moved_on
from controlplane.errors import Fault, InvalidInputError, TooLargeError

MAX_OPERATIONS = 20_000
MAX_COMMIT_BYTES = 64 * 1024 * 1024
MAX_FAULTS = 100
MAX_AUTHOR = 200
MAX_MESSAGE = 2_000
MAX_IDEMPOTENCY_KEY = 200

KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)


class Drafted(NamedTuple):
    """One operation, read; `place` is where it stood. `spec` and `encoded` are None for a delete."""

    place: int
    spec: Spec | None
    encoded: bytes | None


class Draft(NamedTuple):
    entries: Mapping[ResourceRef, Drafted]

    @property
    def specs(self) -> list[tuple[ResourceRef, Spec]]:
        """What is put."""
        return [(ref, entry.spec) for ref, entry in self.entries.items() if entry.spec is not None]

    def looked_into(self, ref: ResourceRef) -> bool:
        """Whether what names `ref` can be at fault: it is deleted, or of a kind whose content others build on."""
        return self.entries[ref].spec is None or row(ref.kind).built_on

    def suffices(self, ref: ResourceRef) -> bool:
        """Whether it is enough that `ref` is there, readable or not.

        Nothing may hold up safe mode's switch.
        """
        if not row(ref.kind).in_the_way:
            return True
        if ref in self.named:
            return not row(ref.kind).read_when_named
        return self.switches

    @property
    def switches(self) -> bool:
        """Whether this only switches safe mode."""
        return all(alone(_operation(touched, entry)) for touched, entry in self.entries.items())

    @property
    def named(self) -> frozenset[ResourceRef]:
        """What the new specs refer to."""
        return frozenset(target for _, spec in self.specs for target in references(spec))


def check_words(author: str, message: str, idempotency_key: str | None) -> None:
    """Raises InvalidInputError unless a commit's words are there and bounded."""
    faults = [
        *_words("author", author, MAX_AUTHOR),
        *_words("message", message, MAX_MESSAGE),
        *([] if idempotency_key is None else _words("idempotency_key", idempotency_key, MAX_IDEMPOTENCY_KEY)),
    ]
    if faults:
        raise InvalidInputError(faults[0].message, tuple(faults))


def draft(operations: Sequence[Operation]) -> Draft:
    """Reads the operations, each on its own.

    Raises:
        InvalidInputError: with every fault found.
        TooLargeError: more than MAX_OPERATIONS or MAX_COMMIT_BYTES.
    """
    if len(operations) > MAX_OPERATIONS:
        raise TooLargeError(f"a commit holds at most {MAX_OPERATIONS} operations, this one has {len(operations)}")
    if sum(len(bytes(o.spec)) for o in operations if o.spec is not UNSET) > MAX_COMMIT_BYTES:
        raise TooLargeError(f"a commit holds at most {MAX_COMMIT_BYTES} bytes")
    if not operations:
        raise InvalidInputError("a commit needs at least one operation", (Fault("required", "no operations", "/ops"),))
    entries: dict[ResourceRef, Drafted] = {}
    faults: list[Fault] = []
    for index, operation in enumerate(operations):
        ref = ResourceRef(operation.kind, operation.key)
        found = _address_faults(index, operation, ref in entries)
        if found:
            faults += found
            continue
        try:
            entries[ref] = _read(index, operation)
        except InvalidResource as error:
            faults += [Fault(f.code, f.message, pointer(ref, f.pointer)) for f in error.faults]
    refuse(faults)
    return Draft(entries)


def keep_owned(drafted: Draft, present: Mapping[ResourceRef, bytes], machine: str) -> Draft:
    """The draft, its puts with what is not theirs to leave out of the specs that are there: what machines own (`machine`
    says whose commit it is), and in a kind that is only ever moved on, what a newer version wrote."""
    changed: dict[ResourceRef, Drafted] = {}
    for ref, entry in drafted.entries.items():
        before = present.get(ref)
        if entry.spec is None or before is None:
            continue
        if row(ref.kind).moved_on and is_newer(ref.kind, before):
            changed[ref] = entry._replace(encoded=moved_on(before, entry.spec))
            continue
        owned = row(ref.kind).owned
        if owned is None or owned.machine == machine or owned.mark not in before:
            continue
        with suppress(msgspec.DecodeError):  # what this version cannot read can be replaced
            spec = owned.kept(entry.spec, decode(ref.kind, before))
            if spec is not entry.spec:
                changed[ref] = Drafted(entry.place, spec, encode(spec))
    return Draft({**drafted.entries, **changed}) if changed else drafted


def settle(
    drafted: Draft, present: Mapping[ResourceRef, bytes], now: datetime | None, machine: str = ""
) -> tuple[tuple[Change, ...], tuple[Fault, ...]]:
    """What the draft changes in `present`, and what is wrong with the outcome.

    `present` holds at least the touched resources, whatever names them, and whatever all these name. Changes come in
    order of their resources; operations without effect are dropped; deleting what is not there is a fault.

    What this version cannot read (a newer one wrote it) can itself be replaced and deleted. Commits that have to look
    into it, or that change what it may build on, are refused.

    `machine` is the kind whose own service commits; everybody else must leave what it owns as it is. With `now` None, an
    activation may have ended.
    """
    changes: list[Change] = []
    faults: list[Fault] = []
    outcome: dict[ResourceRef, Spec] = {}
    for ref, encoded in present.items():
        if ref in drafted.entries:
            continue
        try:
            outcome[ref] = decode(ref.kind, encoded)
        except (msgspec.DecodeError, KeyError) as error:
            if drafted.suffices(ref):
                outcome[ref] = Cohort()  # anything that names nothing
                continue
            why = f"this version cannot read it, replace or delete it first: {error}"
            faults.append(Fault("invalid_value", why, pointer(ref, "")))
    for ref, entry in drafted.entries.items():
        before = present.get(ref)
        if entry.spec is not None:
            outcome[ref] = entry.spec
        elif before is None:
            faults.append(Fault("not_found", f"there is no {ref.kind} {ref.key} to delete", f"/ops/{entry.place}/key"))
        if entry.encoded != before:
            changes.append(Change(ref.kind, ref.key, before, entry.encoded))
    if not faults:
        touched = frozenset(change.ref for change in changes)
        others = dependants(outcome, touched) - touched  # of these, an overdue activation refuses nobody's edit
        checked = (
            *check(outcome, sorted(touched), now=now),
            *check(outcome, sorted(others)),
            *_owned_faults(present, outcome, touched, machine),
        )
        faults += [Fault(f.code, f.message, pointer(ResourceRef(f.kind, f.key), f.pointer)) for f in checked]
    return tuple(sorted(changes, key=lambda change: change.ref)), tuple(faults)


def _owned_faults(
    present: Mapping[ResourceRef, bytes], outcome: Mapping[ResourceRef, Spec], touched: Set[ResourceRef], machine: str
) -> Iterator[model.Fault]:
    checks = {owned.faults for ref in touched if (owned := row(ref.kind).owned) is not None}
    for faults in checks:
        yield from faults(present, outcome, touched, machine)


def dependants(resources: Mapping[ResourceRef, Spec], touched: Set[ResourceRef]) -> frozenset[ResourceRef]:
    """Whatever names one of `touched`."""
    return frozenset(ref for ref, spec in resources.items() if not touched.isdisjoint(references(spec)))


def refuse(faults: Sequence[Fault]) -> None:
    """Raises InvalidInputError when there are any; it carries the first MAX_FAULTS."""
    if faults:
        more = f" (and {len(faults) - 1:,} more)" if len(faults) > 1 else ""
        raise InvalidInputError(f"{faults[0].message}{more}", tuple(faults[:MAX_FAULTS]))


def pointer(ref: ResourceRef, inside: str) -> str:
    return f"/{ref.kind}/{ref.key}{inside}"


def _operation(ref: ResourceRef, entry: Drafted) -> Operation:
    if entry.encoded is None:
        return Operation("del", ref.kind, ref.key)
    return Operation("put", ref.kind, ref.key, msgspec.Raw(entry.encoded))


def _read(index: int, operation: Operation) -> Drafted:
    if operation.spec is UNSET:
        return Drafted(index, None, None)
    spec = parse(operation.kind, operation.key, bytes(operation.spec))
    return Drafted(index, spec, encode(spec))


def _address_faults(index: int, operation: Operation, seen: bool) -> list[Fault]:
    at = f"/ops/{index}"
    kind, key = operation.kind, operation.key
    faults: list[Fault] = []
    if operation.op == "reset":
        faults.append(Fault("invalid_operation", "only the control plane resets", f"{at}/op"))
    elif (operation.op == "put") == (operation.spec is UNSET):
        faults.append(Fault("invalid_operation", "put needs a spec and del has none", f"{at}/spec"))
    if kind not in KINDS:
        faults.append(Fault("unknown_kind", f"there is no kind {kind[:100]!r}", f"{at}/kind"))
    if not KEY.fullmatch(key):
        faults.append(Fault("invalid_key", f"{key[:100]!r} is not a key: use a-z, 0-9, '.', '_', '-'", f"{at}/key"))
    if seen:
        faults.append(Fault("duplicate", f"{kind} {key} is already in this commit", at))
    return faults


def _words(name: str, text: str, limit: int) -> list[Fault]:
    if not text.strip():
        return [Fault("required", f"a commit needs {'an' if name[0] in 'aeiou' else 'a'} {name}", f"/{name}")]
    if len(text) > limit:
        return [Fault("too_long", f"{name} is longer than {limit} characters", f"/{name}")]
    if "\0" in text:
        return [Fault("invalid", f"{name} holds a NUL character", f"/{name}")]
    return []
