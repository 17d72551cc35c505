"""Walking the log to prove that nobody rewrote it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, select

from brownout import wire
from brownout.model.resources import ResourceRef
from controlplane.configuration.store.record import Entry, envelope_operations, record_payload
from controlplane.configuration.store.signing import public_text
from controlplane.configuration.store.tables import change, environment, resource, revision, signing_key
from controlplane.configuration.store.values import BrokenCode, BrokenRevision, Change, VerifiedHistory
from controlplane.errors import NotFoundError
from controlplane.kit.database import Database, ReadConnection

BATCH = 500


async def verify_history(database: Database, key: str) -> VerifiedHistory:
    """Checks every revision, oldest first, and that the head state is what the log leads to.

    Stops at the first that is broken. Raises NotFoundError when there is no such environment.
    """
    async with database.snapshot() as connection:
        head = (await connection.execute(select(environment).where(environment.c.key == key))).one_or_none()
        if head is None:
            raise NotFoundError(f"there is no environment {key}")
        walk = _Walk(key, await _verifier(connection, key), head.plane_salt)
        while rows := await _revisions(connection, key, walk.revision):
            changes = await _changes(connection, key, rows[0].revision, rows[-1].revision)
            broken = await asyncio.to_thread(walk.through, rows, changes)
            if broken:
                return VerifiedHistory(key, walk.count, broken)
        if (head.epoch, head.revision, head.chain) != (walk.epoch or head.epoch, walk.revision, walk.chain):
            return VerifiedHistory(key, walk.count, BrokenRevision(head.revision, "head", "the head is not the log's"))
        rows = (await connection.execute(select(resource).where(resource.c.environment == key))).all()
        if {ResourceRef(row.kind, row.key): row.spec for row in rows} != walk.state:
            text = "the present resources are not what the log leads to"
            return VerifiedHistory(key, walk.count, BrokenRevision(head.revision, "state", text))
    return VerifiedHistory(key, walk.count, None)


class _Walk:
    """What the log says so far."""

    def __init__(self, environment: str, verifier: wire.Verifier, salt: bytes) -> None:
        self.environment = environment
        self.salt = salt
        self.verifier = verifier
        self.count = 0
        self.epoch = 0
        self.revision = 0
        self.chain = ""
        self.state: dict[ResourceRef, bytes] = {}

    def through(self, rows: Sequence[Row[Any]], changes: Mapping[int, Sequence[Change]]) -> BrokenRevision | None:
        for row in rows:
            broken = self._step(row, changes.get(row.revision, ()))
            if broken:
                return BrokenRevision(row.revision, *broken)
        return None

    def _step(self, row: Row[Any], changes: Sequence[Change]) -> tuple[BrokenCode, str] | None:
        """Takes one revision in; returns (code, message) when it is broken."""
        follows = row.revision == self.revision + 1 and row.epoch >= self.epoch
        if not follows and not (row.revision > self.revision and row.epoch > self.epoch):
            return "gap", f"it follows revision {self.revision}"
        if row.previous_chain != self.chain or wire.chain(self.chain, row.payload) != row.chain:
            return "chain", "its chain does not continue the one before"
        try:
            if not self.verifier.verify("log", row.payload, row.signature):
                return "signature", "its envelope's signature is wrong"
            entry = Entry(row.author, row.message, row.created_at, tuple(changes), tuple(row.effective))
            if not self.verifier.verify("record", record_payload(row.chain, entry), row.seal):
                return "seal", "its author, message, time, effect or changes are not those that were sealed"
        except wire.UnknownKeyError as error:
            return "key", f"it is signed with the unknown key {error}"
        if not _says(row, self.chain, changes, self.salt):
            return "envelope", "its envelope does not say what its changes do"
        for step in changes:
            if self.state.get(step.ref) != step.before:
                return "before", f"{step.kind} {step.key} was not what the change says it was"
            if step.after is None:
                del self.state[step.ref]
            else:
                self.state[step.ref] = step.after
        self.count += 1
        self.epoch, self.revision, self.chain = row.epoch, row.revision, row.chain
        return None


def _says(row: Row[Any], previous: str, changes: Sequence[Change], salt: bytes) -> bool:
    envelope = wire.read(row.payload, wire.Envelope)
    if (envelope.env, envelope.ep, envelope.rev, envelope.pch) != (row.environment, row.epoch, row.revision, previous):
        return False
    if row.reset:
        return [operation.op for operation in envelope.ops] == ["reset"]
    if envelope.resets:  # a newer version wrote steps that this one does not know; it signed them
        return True
    return sorted(envelope.ops, key=_address) == sorted(envelope_operations(changes, salt, row.revision), key=_address)


def _address(operation: wire.Operation) -> tuple[str, str]:
    return operation.kind, operation.key


async def _verifier(connection: ReadConnection, key: str) -> wire.Verifier:
    """Trusts the first key and those it vouches for, directly or through others."""
    columns = select(signing_key).where(signing_key.c.environment == key).order_by(signing_key.c.position)
    rows = (await connection.execute(columns)).all()
    verifier = wire.Verifier(key, {row.kid: row.public for row in rows[:1]})
    links = tuple(wire.KeyLink(row.kid, public_text(row.public), row.signed_by, row.signature) for row in rows)
    wire.learn(verifier, wire.KeyChain(1, key, links))
    return verifier


async def _revisions(connection: ReadConnection, key: str, after: int) -> Sequence[Row[Any]]:
    query = select(revision).where(revision.c.environment == key, revision.c.revision > after)
    return (await connection.execute(query.order_by(revision.c.revision).limit(BATCH))).all()


async def _changes(connection: ReadConnection, key: str, first: int, last: int) -> dict[int, list[Change]]:
    query = select(change).where(change.c.environment == key, change.c.revision.between(first, last))
    found: dict[int, list[Change]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.revision, []).append(Change(row.kind, row.key, row.before, row.after))
    return found
