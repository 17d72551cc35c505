"""Plane kinds are versioned like every kind, and their text never leaves the control plane (docs/adr/0220)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from brownout import Brownout, wire
from brownout.evaluation.compile import Compiled
from brownout.model.kinds import SEALED
from brownout.model.resources import ResourceRef
from controlplane.configuration import snapshot as packed
from controlplane.configuration.store import Store
from controlplane.embedded.nats import EmbeddedNats
from controlplane.kit.database import Database
from tests.integration.accessing import ROOT, World, open_world
from tests.integration.publishing import Listener, listener, replica

pytestmark = pytest.mark.anyio

CANARY = "canary-4b1d"
KEY = "outage-of-acme"
API = "/api/v1/environments/production"


def mode(words: str = CANARY) -> dict[str, object]:
    return {"detect": {"errors": ["timeout"]}, "respond": words}


def put(words: str = CANARY, kind: str = "failure_mode") -> wire.Operation:
    spec = mode(words) if kind == "failure_mode" else {"rank": 1, "description": words}
    return wire.Operation("put", kind, KEY, msgspec.Raw(msgspec.json.encode(spec)))


DELETE = wire.Operation("del", "failure_mode", KEY)


def holds_nothing(data: bytes) -> bool:
    return all(word.encode() not in data for word in (CANARY, KEY, "failure_mode", "service_tier"))


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


async def test_the_envelope_says_that_something_changed_and_the_chain_holds(store: Store) -> None:
    for ops in ([put()], [put("another")], [put(kind="service_tier")], [DELETE]):
        await store.commit("production", ops, author="mara", message="m")
    stored = await store.envelopes("production", 0, 10)
    assert all(holds_nothing(each.payload) for each in stored)
    ops = [msgspec.json.decode(each.payload, type=wire.Envelope).ops for each in stored]
    assert [(each[0].op, each[0].kind) for each in ops] == [("put", SEALED)] * 3 + [("del", SEALED)]
    assert ops[0][0].key == ops[1][0].key == ops[3][0].key != ops[2][0].key
    assert (await store.verify_history("production")).broken is None


async def test_a_changed_text_breaks_the_proof(store: Store, database: Database) -> None:
    await store.commit("production", [put()], author="mara", message="m")
    async with database.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE change DISABLE TRIGGER USER"))
        await connection.execute(text("UPDATE change SET after = :spec"), {"spec": bytes(put("forged").spec)})
    broken = (await store.verify_history("production")).broken
    assert broken is not None
    assert broken.code in {"seal", "envelope"}


async def test_a_text_that_comes_back_cannot_be_told_from_a_new_one(store: Store) -> None:
    for words in ("a", "b", "a"):
        await store.commit("production", [put(words)], author="mara", message="m")
    payloads = [each.payload for each in await store.envelopes("production", 0, 10)]
    specs = [bytes(msgspec.json.decode(each, type=wire.Envelope).ops[0].spec) for each in payloads]
    assert len(set(specs)) == 3


async def test_environments_do_not_share_digests(store: Store) -> None:
    await store.create_environment("staging", "Staging")
    for environment in ("production", "staging"):
        await store.commit(environment, [put()], author="mara", message="m")
    one, other = [(await store.envelopes(each, 0, 1))[0].payload for each in ("production", "staging")]
    keys = {msgspec.json.decode(each, type=wire.Envelope).ops[0].key for each in (one, other)}
    assert len(keys) == 2


async def test_snapshots_leave_them_out(store: Store) -> None:
    cohort = wire.Operation("put", "cohort", "beta", msgspec.Raw(b'{"include":["u-1"]}'))
    await store.commit("production", [put(), put(kind="service_tier"), cohort], author="mara", message="m")
    chunks = packed.pack(await store.state("production"))
    found = [resource for batch in wire.unpack_snapshot(chunks) for resource in batch]
    assert [(kind, key) for kind, key, _ in found] == [("cohort", "beta")]


async def test_an_sdk_ignores_them_and_goes_on_deciding(store: Store) -> None:
    flag = b'{"default":"on","off_variant":"on","type":"boolean","variants":{"on":true}}'
    compiled = Compiled.load("production", 0, {ResourceRef("flag", "f"): flag})
    for ops in ([put()], [DELETE]):
        await store.commit("production", ops, author="mara", message="m")
    for each in await store.envelopes("production", 0, 10):
        compiled.apply(msgspec.json.decode(each.payload, type=wire.Envelope).ops, each.revision)
    assert set(compiled.resources) == {ResourceRef("flag", "f")}
    assert compiled.revision == 2


async def test_neither_nats_nor_its_streams_hold_the_text(
    database_url: str, nats_server: EmbeddedNats, bare_store: Store, unique_environment: str
) -> None:
    await bare_store.create_environment(unique_environment, "Test")
    async with listener(nats_server.url, unique_environment) as ears, replica(database_url, nats_server.url) as plane:
        revision = await plane.commit(unique_environment, put(), put(kind="service_tier"))
        assert await ears.revisions(1) == [revision]
        assert all(holds_nothing(message.data) for message in ears.raw)
        for stream in (ears.subjects.log_stream, ears.subjects.snapshot_stream):
            assert all(holds_nothing(data) for data in await messages(ears, stream))


async def messages(ears: Listener, stream: str) -> list[bytes]:
    """What a stream holds, as its administrator reads it."""
    info = await ears.api(f"STREAM.INFO.{stream}")
    state = info["state"]
    found = []
    for sequence in range(state["first_seq"], state["last_seq"] + 1):
        answer = await ears.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence})
        found.append(msgspec.json.decode(msgspec.json.encode(answer["message"]["data"]), type=bytes))
    assert found, stream
    return found


async def test_neither_a_bundle_nor_an_sdk_key_holds_any_of_it(world: World, tmp_path: Path) -> None:
    await world.services.changes.commit(ROOT, "production", [put(), put(kind="service_tier")], "what we say")
    async with world.client(await world.token({"production": ["editor"]})) as http:
        bundle = (await http.get(f"{API}/bundle")).content
    file = tmp_path / "production.bundle"
    await asyncio.to_thread(file.write_bytes, bundle)
    key = (await world.access.keys.create(ROOT, "production", "web")).key
    with Brownout.offline(file, key=key) as client:
        assert client.status.revision == (await world.services.store.head("production")).revision
    assert holds_nothing(bundle)
    async with world.client(key) as sdk:
        for path in (f"failure-modes/{KEY}", "failure-modes", "coverage", "coverage/csv", "export", "state", "history"):
            assert (await sdk.get(f"{API}/{path}")).status_code == 403, path


async def test_it_is_edited_exported_imported_and_restored_like_any_kind(world: World) -> None:
    async with world.client(await world.token({"production": ["admin"]})) as http:
        first = (await http.put(f"{API}/failure-modes/{KEY}", json=mode("first"))).json()
        second = (await http.put(f"{API}/failure-modes/{KEY}", json=mode("second"))).json()
        assert second["effective"][0] == f"failure mode {KEY}: respond first → second"
        exported = (await http.get(f"{API}/export")).json()
        assert exported["resources"]["failure_mode"][KEY]["respond"] == "second"
        restored = await http.post(f"{API}/history/{first['revision']}/restore", json={})
        assert restored.status_code < 300, restored.text
        assert (await http.get(f"{API}/failure-modes/{KEY}")).json()["spec"]["respond"] == "first"
        assert (await http.post(f"{API}/import", json=exported)).status_code == 200
        assert (await http.get(f"{API}/failure-modes/{KEY}")).json()["spec"]["respond"] == "second"
        history = (await http.get(f"{API}/history", params={"kind": "failure_mode"})).json()["items"]
        assert len(history) == 5  # the modes of a new environment, two edits, the restore, the import
        before = (await http.get(f"{API}/state", params={"revision": first["revision"]})).json()
        assert CANARY not in str(before)


async def test_what_a_failure_mode_names_must_be_there(world: World) -> None:
    async with world.client(await world.token({"production": ["admin"]})) as http:
        for spec, pointer in (
            ({**mode(), "profile": "nowhere"}, "/profile"),
            ({**mode(), "classes": ["nowhere"]}, "/classes/0"),
            ({**mode(), "accepted": [{"request_class": "nowhere", "reason": "r"}]}, "/accepted/0/request_class"),
            ({"detect": {"errors": ["meteor"]}}, "/detect/errors/0"),
            ({"detect": {"errors": ["timeout", "timeout"]}}, "/detect/errors/1"),
            ({"detect": {"errors": []}}, "/detect/errors"),
        ):
            refused = await http.put(f"{API}/failure-modes/{KEY}", json=spec)
            assert (refused.status_code, refused.json()["faults"][0]["pointer"]) == (422, pointer), refused.text


async def test_a_new_environment_has_the_eight_modes(world: World) -> None:
    async with world.client(await world.token({"*": ["admin"]})) as http:
        made = await http.post("/api/v1/environments", json={"key": "fresh"})
        assert made.status_code == 201, made.text
        assert made.json()["revision"] == 1
        modes = (await http.get("/api/v1/environments/fresh/failure-modes")).json()["items"]
        assert [each["key"] for each in modes] == [
            "content-policy-mismatch", "cost-overrun", "latency-spike", "parser-breakage", "provider-outage",
            "refusal-surge", "retrieval-miss", "tool-call-failure",
        ]  # fmt: skip
