"""What people leave behind: tokens, sessions, groups. Whoever may no longer do something has nothing that still does."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from tests.attack.insiders import Insider, P, bearer, follow, insider, opens
from tests.integration.accessing import PASSWORD, ROOT, World, open_world

pytestmark = pytest.mark.anyio
S = "staging"
ADMIN = {"*": ["admin"]}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url, max_token_days=100) as opened:
        yield opened


@pytest.fixture
async def ada(world: World) -> Insider:
    return await insider(world, "ada", ADMIN)


async def test_nothing_that_a_leaver_made_opens_anything(world: World, ada: Insider) -> None:
    leaver = await insider(world, "leaver", ADMIN)
    back_door = (await leaver.machine(ADMIN, "back door"))["token"]
    spare = (
        await bearer(world, back_door, "POST", "/tokens/service", {"name": "spare", "grants": ADMIN, "sensitive": True})
    ).json()["token"]
    laptop = (await leaver.token())["token"]
    assert await opens(world, spare) == ADMIN
    assert (await ada.api("POST", f"/people/{leaver.id}/disable")).status_code == 200
    assert [await opens(world, token) for token in (back_door, spare, laptop)] == [None, None, None]
    assert (await leaver.api("GET", "/session")).status_code == 401
    assert (
        await bearer(world, back_door, "POST", "/people", {"email": "x@example.com", "grants": ADMIN})
    ).status_code == 401
    await ada.api("POST", f"/people/{leaver.id}/enable")
    assert [await opens(world, token) for token in (back_door, spare, laptop)] == [None, None, None]


async def test_a_token_holds_what_its_maker_still_holds(world: World, ada: Insider) -> None:
    maker = await insider(world, "maker", {P: ["admin"], S: ["admin"]})
    token = (await maker.machine({P: ["editor"], S: ["operator"]}))["token"]
    assert await opens(world, token) == {P: ["editor"], S: ["operator"]}
    await ada.api("DELETE", f"/people/{maker.id}/grants/{P}/admin")
    assert await opens(world, token) == {S: ["operator"]}
    await ada.api("POST", f"/people/{maker.id}/grants", {"environment": P, "role": "viewer"})
    assert await opens(world, token) == {S: ["operator"]}
    await ada.api("DELETE", f"/people/{maker.id}/grants/{S}/admin")
    assert await opens(world, token) == {}


async def test_what_the_operator_made_hangs_on_nobody_and_says_so(world: World, ada: Insider) -> None:
    made = await world.access.tokens.create_service(ROOT, "bootstrap", ADMIN, sensitive=True)
    assert await opens(world, made.token) == ADMIN
    [row] = (await ada.api("GET", "/tokens?everybody=true")).json()["items"]
    assert (row["person"], row["made_by"]) == (None, "system:test")
    child = await bearer(world, made.token, "POST", "/tokens/service", {"name": "ci", "grants": {S: ["editor"]}})
    assert await opens(world, child.json()["token"]) == {S: ["editor"]}
    await ada.api("DELETE", f"/tokens/{made.id}")
    assert await opens(world, child.json()["token"]) is None, "a token ends with the one it was made with"


async def test_a_leavers_machines_go_on_under_somebody_who_holds_as_much(world: World, ada: Insider) -> None:
    leaver = await insider(world, "leaver", {S: ["admin"]})
    weak = await insider(world, "weak", {S: ["editor"]})
    strong = await insider(world, "strong", {S: ["admin"]})
    token, laptop = (await leaver.machine({S: ["operator"]}))["token"], (await leaver.token())["token"]
    path = f"/people/{leaver.id}/disable"
    refused = await ada.api("POST", path, {"heir": weak.id})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await ada.api("POST", path, {"heir": "nobody"})).status_code == 404
    assert (await ada.api("POST", path, {"heir": leaver.id})).status_code == 404
    assert await opens(world, laptop) is not None, "a handover that fails disables nobody"
    assert (await ada.api("POST", path, {"heir": strong.id})).status_code == 200
    assert (await opens(world, token), await opens(world, laptop)) == ({S: ["operator"]}, None)
    [row] = [each for each in (await strong.api("GET", "/tokens")).json()["items"] if each["name"] == "robot"]
    assert (row["person"], row["made_by"], row["handed_by"]) == (strong.id, "leaver@example.com", "ada@example.com")
    await ada.api("DELETE", f"/people/{strong.id}/grants/{S}/admin")
    assert await opens(world, token) == {}
    events = [line.entry.event for line in await world.access.audit.list_events(ROOT, limit=20)]
    assert {"token_handed_over", "token_revoked", "person_disabled"} <= set(events)


async def test_administrators_of_an_environment_see_and_end_the_tokens_within_it(world: World, ada: Insider) -> None:
    stan, pat = await insider(world, "stan", {S: ["admin"]}), await insider(world, "pat", {P: ["admin"]})
    mine = await stan.machine({S: ["admin"]}, "mine")
    wide = await ada.machine({S: ["editor"], P: ["editor"]}, "wide")
    hers = await ada.machine({S: ["viewer"]}, "hers")
    everything = await ada.token("everything")
    scoped = await ada.token("scoped", scope={S: ["viewer"]})

    async def names(who: Insider, query: str = "") -> set[str]:
        return {row["name"] for row in (await who.api("GET", f"/tokens{query}")).json()["items"]}

    assert await names(stan) == {"mine"}
    assert await names(stan, "?everybody=true") == {"mine", "hers", "scoped"}
    assert await names(pat, "?everybody=true") == set()
    assert await names(ada, "?everybody=true") == {"mine", "wide", "hers", "everything", "scoped"}
    for token, status in ((wide, 404), (everything, 404), (hers, 204), (scoped, 204), (mine, 204)):
        assert (await stan.api("DELETE", f"/tokens/{token['id']}")).status_code == status
    assert (await pat.api("DELETE", f"/tokens/{wide['id']}")).status_code == 404
    assert await opens(world, mine["token"]) is None
    viv = await insider(world, "viv", {S: ["viewer"]})
    assert (await viv.api("GET", "/tokens?everybody=true")).status_code == 403
    page = await stan.page(f"/e/{S}/access/tokens")
    assert "machine, by stan@example.com" in page
    assert "admin in staging" in page


async def test_a_reset_by_a_link_ends_what_a_thief_of_the_password_could_have_made(world: World, ada: Insider) -> None:
    eva = await insider(world, "eva", {S: ["admin"]})
    stolen, robot = (await eva.token("stolen"))["token"], (await eva.machine({S: ["editor"]}))["token"]
    old = await insider(world, "old", {S: ["admin"]})
    taken = (await old.machine({S: ["viewer"]}, "taken over"))["token"]
    await ada.api("POST", f"/people/{old.id}/disable", {"heir": eva.id})
    link = await ada.reset(eva.id)
    assert await opens(world, stolen) is not None, "a link that nobody has followed ends nothing"
    await follow(world, link, "something else entirely 5")
    assert (await opens(world, stolen), await opens(world, robot)) == (None, None)
    assert await opens(world, taken) == {S: ["viewer"]}, "it was never hers to make"
    assert (await eva.api("GET", "/session")).status_code == 401
    reasons = [line.entry.reason for line in await world.access.audit.list_events(ROOT, limit=10)]
    assert reasons.count("password reset by a link") == 2


@pytest.mark.parametrize("keep", [False, True])
async def test_a_changed_password_ends_personal_tokens_unless_they_are_kept(world: World, *, keep: bool) -> None:
    eva = await insider(world, "eva", {S: ["admin"]})
    laptop, robot = (await eva.token())["token"], (await eva.machine({S: ["editor"]}))["token"]
    elsewhere = await eva.sign_in(world)
    body = {"old": PASSWORD, "new": "something else entirely 5", **({"keep_tokens": True} if keep else {})}
    assert (await eva.api("POST", "/session/password", body)).status_code == 204
    assert (await opens(world, laptop) is not None) == keep
    assert await opens(world, robot) == {S: ["editor"]}
    assert (await elsewhere.api("GET", "/session")).status_code == 401
    assert (await eva.api("GET", "/session")).status_code == 200
    events = [line.entry.event for line in await world.access.audit.list_events(ROOT, limit=3)]
    assert "password_set" in events


async def test_every_token_ends_and_none_outlives_the_one_it_was_made_with(world: World, ada: Insider) -> None:
    made = await ada.machine(ADMIN)
    assert made["expires_at"] is not None
    too_long = await ada.api("POST", "/tokens/service", {"name": "x", "grants": ADMIN, "lasts_s": 101 * 86_400})
    assert (too_long.status_code, too_long.json()["faults"][0]["pointer"]) == (422, "/lasts_s")
    assert (await ada.api("POST", "/tokens", {"name": "x", "lasts_s": 101 * 86_400})).status_code == 422
    child = await bearer(
        world, made["token"], "POST", "/tokens/service", {"name": "child", "grants": ADMIN, "lasts_s": 100 * 86_400}
    )
    assert child.json()["expires_at"] == made["expires_at"]
    world.clock.move(timedelta(days=91))
    assert (await opens(world, made["token"]), await opens(world, child.json()["token"])) == (None, None)


async def test_a_token_of_before_tokens_had_an_end_is_told_of(world: World, ada: Insider) -> None:
    assert await world.access.endless.tell() == 0
    made = await ada.machine(ADMIN)
    async with world.services.database.transaction() as connection:
        await connection.execute(text("UPDATE api_token SET expires_at = NULL WHERE id = :id"), {"id": made["id"]})
    assert await world.access.endless.tell() == 1
    assert world.alerts[-1] == ("tokens_without_expiry", {"tokens": "1"})
    page = await ada.page(f"/e/{P}/access/tokens")
    assert "never ends" in page, page
