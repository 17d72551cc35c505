import msgspec
import pytest

from brownout import wire
from brownout.model import ResourceRef
from brownout.wire import Operation
from controlplane.store import SigningKeys, Store

pytestmark = pytest.mark.anyio


def put(kind: str, key: str, spec: object) -> Operation:
    return Operation("put", kind, key, msgspec.Raw(msgspec.json.encode(spec)))


COHORT = {"include": ["u-1"]}


async def test_a_commit_makes_one_signed_revision_that_follows_the_last(
    store: Store, signing_keys: SigningKeys
) -> None:
    first = await store.commit("production", [put("cohort", "beta", COHORT)], author="mara", message="try")
    second = await store.commit("production", [Operation("del", "cohort", "beta")], author="mara", message="stop")
    assert (first.revision, second.revision) == (1, 2)
    one, two = await store.envelopes("production", 0, 10)
    assert (one.previous_chain, two.previous_chain) == ("", one.chain)
    assert wire.chain(one.chain, two.payload) == two.chain == second.chain
    key = await signing_keys.current("production")
    verifier = wire.Verifier("production", {key.kid: key.public})
    assert verifier.verify("log", two.payload, two.signature)
    envelope = msgspec.json.decode(two.payload, type=wire.Envelope)
    assert (envelope.rev, envelope.pch, envelope.ops) == (2, one.chain, (Operation("del", "cohort", "beta"),))
    assert (await store.head("production")).chain == second.chain
    assert not (await store.state("production")).resources


async def test_the_state_holds_what_was_put(store: Store) -> None:
    made = await store.commit("production", [put("cohort", "beta", COHORT)], author="mara", message="try")
    state = await store.state("production")
    assert state.resources == {ResourceRef("cohort", "beta"): made.changes[0].after}
    (line,) = await store.list_commits("production")
    assert line.refs == (ResourceRef("cohort", "beta"),)
    assert (await store.get_commit("production", 1)) == made
    page = await store.list_resources("production", "cohort", search="bet")
    assert [item.key for item in page.items] == ["beta"]
