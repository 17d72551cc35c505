import msgspec
import pytest

from brownout import wire
from brownout.model.resources import ResourceRef
from brownout.wire import Operation
from controlplane.configuration.store import (
    IdempotencyKeyReusedError,
    SigningKeys,
    StaleRevisionError,
    Store,
    every_resource,
)
from controlplane.configuration.store.draft import MAX_MESSAGE, MAX_OPERATIONS
from controlplane.errors import ConflictError, InvalidInputError, NotFoundError, TooLargeError
from tests.integration.resources import cohort, delete, flag, in_cohort, put, raw

pytestmark = pytest.mark.anyio

WORDS = {"author": "mara", "message": "try it"}
BETA = ResourceRef("cohort", "beta")


@pytest.fixture
async def verifier(store: Store, signing_keys: SigningKeys) -> wire.Verifier:
    key = await signing_keys.current("production")
    return wire.Verifier("production", {key.kid: key.public})


async def test_a_commit_makes_one_signed_revision_that_follows_the_last(store: Store, verifier: wire.Verifier) -> None:
    first = await store.commit("production", [put(cohort("beta", "u-1"))], **WORDS)
    second = await store.commit("production", [delete(*BETA)], **WORDS)
    assert (first.revision, second.revision) == (1, 2)
    one, two = await store.envelopes("production", 0, 10)
    assert (one.previous_chain, two.previous_chain) == ("", one.chain)
    assert wire.chain(one.chain, two.payload) == two.chain == second.chain
    assert verifier.verify("log", two.payload, two.signature)
    envelope = msgspec.json.decode(two.payload, type=wire.Envelope)
    assert (envelope.rev, envelope.pch, envelope.ops) == (2, one.chain, (Operation("del", "cohort", "beta"),))
    assert envelope.ts == second.created_at.timestamp() * 1000
    head = await store.head("production")
    assert (head.revision, head.chain) == (2, second.chain)
    assert not (await store.state("production")).resources


async def test_a_commit_of_many_operations_is_one_revision(store: Store) -> None:
    made = await store.commit(
        "production", [put(flag("web-search", rules=[in_cohort("beta")])), put(cohort("beta"))], **WORDS
    )
    assert made.revision == 1
    assert {change.ref for change in made.changes} == {BETA, ("flag", "web-search")}
    assert (await store.state("production")).resources == {c.ref: c.after for c in made.changes}
    assert await store.get_commit("production", 1) == made


async def test_specs_are_stored_canonically(store: Store) -> None:
    spelled = raw("cohort", "beta", b'{ "include" : ["u-1"],\n "exclude": ["\\u00e9"] }')
    await store.commit("production", [spelled], **WORDS)
    stored = (await store.get_resource("production", "cohort", "beta")).spec
    assert stored == '{"exclude":["é"],"include":["u-1"]}'.encode()


async def test_a_commit_without_effect_is_answered_as_unchanged_and_makes_no_revision(store: Store) -> None:
    await store.commit("production", [put(cohort("beta", "u-1"))], **WORDS)
    again = await store.commit("production", [put(cohort("beta", "u-1"))], **WORDS)
    assert (again.unchanged, again.revision, again.changes) == (True, 1, ())
    assert (await store.head("production")).revision == 1
    mixed = await store.commit("production", [put(cohort("beta", "u-1")), put(cohort("new"))], **WORDS)
    assert [change.key for change in mixed.changes] == ["new"]


async def test_a_stale_commit_is_refused_with_both_sides(store: Store) -> None:
    await store.commit("production", [put(cohort("beta", "u-1"))], **WORDS)
    await store.commit("production", [put(cohort("beta", "u-2"))], author="noor", message="mine now")
    with pytest.raises(StaleRevisionError) as caught:
        await store.commit("production", [put(cohort("beta", "u-3"))], expected_revision=1, **WORDS)
    error = caught.value
    assert (error.code, error.expected, error.head) == ("stale_revision", 1, 2)
    assert [(line.revision, line.author, line.message) for line in error.commits] == [(2, "noor", "mine now")]
    assert [(change.key, change.after) for change in error.theirs] == [("beta", b'{"include":["u-2"]}')]
    assert [(change.key, change.before, change.after) for change in error.mine] == [
        ("beta", b'{"include":["u-2"]}', b'{"include":["u-3"]}')
    ]
    assert (await store.head("production")).revision == 2
    done = await store.commit("production", [put(cohort("beta", "u-3"))], expected_revision=2, **WORDS)
    assert done.revision == 3


async def test_expecting_a_revision_that_never_was_is_a_conflict(store: Store) -> None:
    with pytest.raises(StaleRevisionError) as caught:
        await store.commit("production", [put(cohort("beta"))], expected_revision=7, **WORDS)
    assert (caught.value.commits, caught.value.theirs) == ((), ())


async def test_the_same_key_and_body_get_the_same_answer(store: Store) -> None:
    ops = [put(cohort("beta", "u-1"))]
    first = await store.commit("production", ops, idempotency_key="k-1", **WORDS)
    await store.commit("production", [put(cohort("beta", "u-2"))], **WORDS)
    second = await store.commit("production", ops, idempotency_key="k-1", **WORDS)
    assert second.replayed
    assert msgspec.structs.replace(second, replayed=False) == first
    assert (await store.head("production")).revision == 2


@pytest.mark.parametrize(
    "other",
    [{"message": "another"}, {"author": "noor"}, {"expected_revision": 1}, {"ops": [put(cohort("beta", "u-2"))]}],
)
async def test_the_same_key_with_another_body_is_refused(store: Store, other: dict[str, object]) -> None:
    arguments = {"ops": [put(cohort("beta", "u-1"))], "idempotency_key": "k-1", **WORDS}
    await store.commit("production", **arguments)
    with pytest.raises(IdempotencyKeyReusedError) as caught:
        await store.commit("production", **(arguments | other))
    assert caught.value.code == "idempotency_key_reused"
    assert (await store.head("production")).revision == 1


async def test_environments_are_apart(store: Store) -> None:
    await store.create_environment("staging", "Staging")
    await store.commit("staging", [put(cohort("beta"))], **WORDS)
    assert [(e.key, e.revision) for e in await store.list_environments()] == [("production", 0), ("staging", 1)]
    assert await store.find_resource("production", "cohort", "beta") is None
    assert await store.envelopes("production", 0, 10) == ()
    with pytest.raises(ConflictError):
        await store.create_environment("staging", "Again")
    with pytest.raises(InvalidInputError) as caught:
        await store.create_environment("No Key", " ")
    assert [fault.pointer for fault in caught.value.faults] == ["/key", "/name"]


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    for call in (
        store.head("nowhere"),
        store.state("nowhere"),
        store.state("production", 1),
        store.commit("nowhere", [put(cohort("beta"))], **WORDS),
        store.preview("nowhere", [put(cohort("beta"))]),
        store.get_resource("production", "cohort", "beta"),
        store.get_commit("production", 1),
        store.diff("production", 0, 1),
        store.verify_history("nowhere"),
    ):
        with pytest.raises(NotFoundError):
            await call


async def test_a_preview_says_what_a_commit_would_and_writes_nothing(store: Store) -> None:
    await store.commit("production", [put(cohort("beta"))], **WORDS)
    ops = [put(flag("web-search", rules=[in_cohort("beta")])), put(cohort("beta", "u-1"))]
    preview = await store.preview("production", ops)
    assert (preview.head.revision, (await store.head("production")).revision) == (1, 1)
    made = await store.commit("production", ops, **WORDS)
    assert (preview.changes, preview.effective, preview.faults) == (made.changes, made.effective, ())
    refused = await store.preview("production", [delete("cohort", "beta")])
    assert [fault.pointer for fault in refused.faults] == ["/flag/web-search/rules/0/if/0/values/0"]


async def test_words_and_sizes_are_bounded(store: Store) -> None:
    ops = [put(cohort("beta"))]
    with pytest.raises(InvalidInputError) as caught:
        await store.commit("production", ops, author=" ", message="x" * (MAX_MESSAGE + 1), idempotency_key="a\0b")
    assert [fault.pointer for fault in caught.value.faults] == ["/author", "/message", "/idempotency_key"]
    with pytest.raises(TooLargeError):
        await store.commit("production", ops * (MAX_OPERATIONS + 1), **WORDS)
    with pytest.raises(InvalidInputError):
        await store.commit("production", [], **WORDS)
    assert (await store.head("production")).revision == 0


async def test_resources_are_listed_by_key_searched_and_paged(store: Store) -> None:
    flags = [flag(f"f-{n}", tags=["even" if n % 2 == 0 else "odd"], owner="Team Red_1") for n in range(5)]
    await store.commit("production", [put(f) for f in (*flags, flag("other", description="Serves 100%"))], **WORDS)

    async def keys(**where: object) -> list[str]:
        return [item.key for item in (await store.list_resources("production", "flag", **where)).items]

    first = await store.list_resources("production", "flag", limit=4)
    assert ([item.key for item in first.items], first.next) == (["f-0", "f-1", "f-2", "f-3"], "f-3")
    second = await store.list_resources("production", "flag", limit=4, after=first.next)
    assert ([item.key for item in second.items], second.next) == (["f-4", "other"], None)
    assert await keys(search="F-1") == ["f-1"]
    assert await keys(search="red_1 odd") == ["f-1", "f-3"]
    assert await keys(search="100%") == ["other"]
    assert await keys(search="r_d") == []
    assert await keys(tags=["even"], search="f-4") == ["f-4"]
    assert await keys(type="string") == []
    assert await store.count_resources("production") == {"flag": 6}
    (item,) = (await store.list_resources("production", "flag", search="other")).items
    assert (item.revision, item.changed_by) == (1, "mara")
    await store.commit("production", [put(flag("f-0", tags=["new"]))], author="noor", message="retag")
    item = await store.get_resource("production", "flag", "f-0")
    assert (item.revision, item.changed_by) == (2, "noor")
    assert await keys(tags=["new"]) == ["f-0"]


async def test_every_resource_is_every_one_however_many_pages_it_takes(store: Store) -> None:
    keys = [f"c-{number:04}" for number in range(501)]
    await store.commit("production", [put(cohort(key, "u-1")) for key in keys], author="mara", message="many")
    assert [found.key for found in await every_resource(store, "production", "cohort")] == keys


async def test_dependants_follow_every_commit(store: Store) -> None:
    await store.commit(
        "production", [put(cohort("beta")), put(flag("a", rules=[in_cohort("beta")])), put(flag("b"))], **WORDS
    )
    assert await store.list_dependants("production", "cohort", "beta") == (("flag", "a"),)
    await store.commit("production", [put(flag("a")), put(flag("b", rules=[in_cohort("beta")]))], **WORDS)
    assert await store.list_dependants("production", "cohort", "beta") == (("flag", "b"),)
    await store.commit("production", [delete("flag", "b"), delete("cohort", "beta")], **WORDS)
    assert await store.list_dependants("production", "cohort", "beta") == ()
