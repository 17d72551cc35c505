"""One hand tries to be two: puppets, resets, roles, tokens, and ways out of the rule's reach."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from controlplane.access import totp
from controlplane.access.queries import hands
from tests.attack.insiders import API, BOOLEAN, Insider, P, bearer, follow, insider
from tests.attack.signing_in import totp_key
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio
DAY = timedelta(days=1)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        await opened.access.rule.set(ROOT, P, 1)
        yield opened


@pytest.fixture
async def ada(world: World) -> Insider:
    """An administrator of everything; nobody made her account but the operator."""
    return await insider(world, "ada", {"*": ["admin"]})


@pytest.fixture
async def ed(world: World) -> Insider:
    return await insider(world, "ed", {P: ["editor"]})


@pytest.fixture
async def ann(world: World) -> Insider:
    return await insider(world, "ann", {P: ["approver"]})


def why_not(proposal: Mapping[str, Any]) -> list[str]:
    return [approval["why_not"] for approval in proposal["approvals"]]


async def test_two_people_who_have_nothing_to_do_with_each_other_commit(
    world: World, ed: Insider, ann: Insider
) -> None:
    proposal = await ed.propose("together")
    assert why_not(await ann.approve(proposal)) == [""]
    assert await ed.commit(proposal) == 200


async def test_a_puppet_that_the_author_invited_approves_nothing_of_theirs(world: World, ada: Insider) -> None:
    puppet = await follow(world, await ada.invite("puppet@example.com", {P: ["approver"]}))
    world.clock.move(30 * DAY)
    ada, puppet = await again(world, ada), await again(world, puppet)
    proposal = await ada.propose("alone")
    done = await puppet.approve(proposal)
    assert why_not(done) == ["ada@example.com made their account, and has a hand in it"]
    assert (done["approved"], await ada.commit(proposal)) == (False, 403)


async def test_a_real_approver_is_nobodys_once_reset_by_the_author(world: World, ada: Insider, ann: Insider) -> None:
    as_ann = await follow(world, await ada.reset(ann.id), "taken over by ada 12")
    proposal = await ada.propose("alone")
    done = await as_ann.approve(proposal)
    assert why_not(done) == ["ada@example.com made them a sign-in link, and has a hand in it"]
    assert await ada.commit(proposal) == 403


async def test_another_administrators_link_gives_an_approver_back_to_themselves(
    world: World, ada: Insider, ann: Insider
) -> None:
    await ada.reset(ann.id)
    bea = await insider(world, "bea", {"*": ["admin"]})
    back = await follow(world, await bea.reset(ann.id), "only ann knows this 7")
    proposal = await ada.propose("seen-by-ann")
    assert why_not(await back.approve(proposal)) == [""]
    assert await ada.commit(proposal) == 200


async def test_a_puppet_of_a_puppet_is_the_same_hand(world: World, ada: Insider) -> None:
    first = await follow(world, await ada.invite("first@example.com", {"*": ["admin"]}))
    second = await follow(world, await first.invite("second@example.com", {P: ["approver"]}))
    proposal = await ada.propose("alone")
    assert why_not(await second.approve(proposal)) == [
        "first@example.com made their account, and another person behind them has a hand in it"
    ]
    assert await ada.commit(proposal) == 403


async def test_two_puppets_of_one_hand_are_one_head(world: World, ada: Insider) -> None:
    author = await follow(world, await ada.invite("author@example.com", {P: ["editor"]}))
    approver = await follow(world, await ada.invite("approver@example.com", {P: ["approver"]}))
    proposal = await author.propose("alone")
    await approver.approve(proposal)
    assert await author.commit(proposal) == 403
    done = await ada.approve(proposal)
    assert [bool(why) for why in why_not(done)] == [True, True]
    assert await author.commit(proposal) == 403


async def test_people_whom_one_administrator_invited_work_together_once_they_have_settled(
    world: World, ada: Insider
) -> None:
    author = await follow(world, await ada.invite("author@example.com", {P: ["editor"]}))
    approver = await follow(world, await ada.invite("approver@example.com", {P: ["approver"]}))
    world.clock.move(2 * DAY)
    author, approver = await again(world, author), await again(world, approver)
    proposal = await author.propose("together")
    assert why_not(await approver.approve(proposal)) == [""]
    assert await author.commit(proposal) == 200


@pytest.mark.parametrize("how", ["link", "password", "role", "let in again", "invitation"])
async def test_what_changes_after_a_proposal_was_opened_makes_no_second_person(
    world: World, ada: Insider, ed: Insider, ann: Insider, how: str
) -> None:
    outstanding = await ada.reset(ann.id) if how == "password" else ""
    proposal = await ed.propose("alone")
    if how == "link":
        ann = await follow(world, await ada.reset(ann.id))
    elif how == "password":
        ann = await follow(world, outstanding)
    elif how == "role":
        ann = await insider_with_role_given_by(world, ada)
    elif how == "let in again":
        for verb in ("disable", "enable"):
            await ada.api("POST", f"/people/{ann.id}/{verb}", {})
        ann = await again(world, ann)
    else:
        ann = await follow(world, await ada.invite("late@example.com", {P: ["approver"]}))
    done = await ann.approve(proposal)
    assert done["approvals"][0]["why_not"].endswith("after it was opened")
    assert await ed.commit(proposal) == 403


async def insider_with_role_given_by(world: World, ada: Insider) -> Insider:
    viewer = await insider(world, "viv", {P: ["viewer"]})
    assert (
        await ada.api("POST", f"/people/{viewer.id}/grants", {"environment": "*", "role": "approver"})
    ).status_code == 200
    return viewer


async def test_whoever_let_in_the_author_after_all_is_the_author(world: World, ada: Insider, ed: Insider) -> None:
    proposal = await ed.propose("by-ed")
    as_ed = await follow(world, await ada.reset(ed.id), "taken over by ada 12")
    ops = [{"op": "put", "kind": "flag", "key": "by-ada", "spec": BOOLEAN}]
    edited = await as_ed.api(
        "PUT", f"/environments/{P}/proposals/{proposal['id']}", {"message": "by ada", "ops": ops, "edition": 1}
    )
    proposal = edited.json()
    done = await ada.approve(proposal)
    assert why_not(done) == [
        "the same person or token recently made an account or link for them and for another person in it"
    ]
    assert await as_ed.commit(proposal) == 403


async def test_one_of_two_approvers_who_is_the_others_puppet_does_not_count(
    world: World, ada: Insider, ed: Insider, ann: Insider
) -> None:
    puppet = await follow(world, await ada.invite("puppet@example.com", {P: ["approver"]}))
    world.clock.move(2 * DAY)
    ada, ed, ann, puppet = [await again(world, each) for each in (ada, ed, ann, puppet)]
    await world.access.rule.set(ROOT, P, 2)
    proposal = await ed.propose("by-two")
    await puppet.approve(proposal)
    done = await ada.approve(proposal)
    assert {a["approver"]: a["counts"] for a in done["approvals"]} == {
        "puppet@example.com": False, "ada@example.com": True,
    }  # fmt: skip
    assert await ed.commit(proposal) == 403
    assert (await ann.approve(proposal))["approved"]
    assert await ed.commit(proposal) == 200


async def test_neither_tokens_of_machines_nor_of_the_author_approve(world: World, ada: Insider) -> None:
    proposal = await ada.propose("alone")
    path, body = f"/environments/{P}/proposals/{proposal['id']}/approve", {"edition": 1}
    machine = await ada.machine({P: ["approver", "editor"]})
    for token in (machine["token"], (await ada.token())["token"]):
        assert (await bearer(world, token, "POST", path, body)).status_code == 403
    made = await bearer(
        world, machine["token"], "POST", "/people", {"email": "p@example.com", "grants": {P: ["approver"]}}
    )
    assert made.status_code == 403, "nobody gives what they do not hold"
    admin = (await ada.machine({"*": ["admin"]}, "admin"))["token"]
    made = await bearer(world, admin, "POST", "/people", {"email": "p@example.com", "grants": {P: ["approver"]}})
    puppet = await follow(world, made.json()["link"])
    assert why_not(await puppet.approve(await ada.propose("more")))[0].endswith("has a hand in it")


async def test_leaving_production_and_loosening_the_rule_are_under_the_rule(world: World, ada: Insider) -> None:
    here = f"/environments/{P}"
    away = {"production": False}
    for method, path, body in (("PATCH", here, away), ("PUT", f"{here}/rule", {"requires_approvals": 0})):
        refused = await ada.api(method, path, body)
        assert (refused.status_code, refused.json()["code"]) == (403, "approval_required")
    for method in ("DELETE", "PUT"):  # nothing deletes or renames an environment
        assert (await ada.api(method, here)).status_code == 405
    assert (await ada.api("GET", here)).json()["production"] is True
    assert (await ada.api("POST", f"{here}/break-glass", {"reason": "alone tonight"})).status_code == 201
    assert (await ada.api("PATCH", here, away)).status_code == 200
    [glass] = (await ada.api("GET", f"{here}/break-glass")).json()["items"]
    assert glass["uses"] == ["production → no"]


async def test_a_puppet_does_not_review_the_glass_of_its_maker(world: World, ada: Insider, ann: Insider) -> None:
    puppet = await follow(world, await ada.invite("puppet@example.com", {P: ["approver"]}))
    glass = (await ada.api("POST", f"/environments/{P}/break-glass", {"reason": "alone"})).json()
    path = f"/environments/{P}/break-glass/{glass['id']}/review"
    refused = await puppet.api("POST", path, {"review": "fine"})
    assert refused.status_code == 403
    assert "ada@example.com made their account" in refused.json()["detail"]
    assert (await ann.api("POST", path, {"review": "I asked her why"})).status_code == 200


async def test_people_hear_of_whatever_makes_an_approver(world: World, ada: Insider, ed: Insider, ann: Insider) -> None:
    await ed.propose("waits")
    await ada.invite("new@example.com", {P: ["approver"]})
    await ada.invite("reader@example.com", {P: ["viewer"]})
    await ada.reset(ann.id)
    await ada.api("POST", f"/people/{ed.id}/grants", {"environment": P, "role": "approver"})
    told = [(f["person"], f["what"], f["open_proposals"]) for event, f in world.alerts if event == "approver_changed"]
    assert told[-3:] == [
        ("new@example.com", "invited", "1"),
        ("ann@example.com", "new link", "1"),
        ("ed@example.com", "made approver", "1"),
    ]
    await ada.api("DELETE", f"/people/{ann.id}/second-factors")
    assert world.alerts[-1][1]["what"] == "second factors forgotten"
    audited = {line.entry.event for line in await world.access.audit.list_events(ROOT, limit=20)}
    assert {"person_invited", "role_granted"} <= audited


async def test_the_page_of_a_proposal_says_which_approvals_do_not_count_and_why(
    world: World, ada: Insider, ann: Insider
) -> None:
    proposal = await ada.propose("alone")
    await (await follow(world, await ada.reset(ann.id))).approve(proposal)
    page = await ada.page(f"/e/{P}/access/approvals/{proposal['id']}")
    assert "does not count" in page
    assert "their password was set by a link after it was opened" in page or "sign-in link after it was opened" in page


async def test_an_administrator_who_never_signed_in_is_not_the_last_one(world: World, ada: Insider) -> None:
    """Else one invites a puppet, and takes the last real administrator's role."""
    await ada.invite("ghost@example.com", {"*": ["admin"]})
    refused = await ada.api("DELETE", f"/people/{ada.id}/grants/*/admin")
    assert refused.status_code == 409


async def again(world: World, who: Insider) -> Insider:
    """Their sessions are over: they sign in anew."""
    return await who.sign_in(world)


async def test_a_token_that_nobody_answers_for_may_be_the_approvers(world: World, ann: Insider) -> None:
    """Who holds `brownout up`'s token proposes with it, and approves as themselves."""
    local = (await world.access.tokens.create_service(ROOT, "local", {"*": ["admin"]}, sensitive=True)).token
    bob = await insider(world, "bob", {P: ["approver"]})
    ops = [{"op": "put", "kind": "flag", "key": "alone", "spec": BOOLEAN}]
    made = await bearer(world, local, "POST", f"/environments/{P}/proposals", {"message": "alone", "ops": ops})
    proposal = made.json()
    done = await ann.approve(proposal)
    assert (done["needed"], done["approved"]) == (2, False)
    assert (
        await bearer(world, local, "POST", f"/environments/{P}/proposals/{proposal['id']}/commit")
    ).status_code == 403
    assert why_not(await bob.approve(proposal)) == ["", ""]
    assert (
        await bearer(world, local, "POST", f"/environments/{P}/proposals/{proposal['id']}/commit")
    ).status_code == 200


async def test_whom_such_a_token_invited_is_nobodys_second_person_at_first(world: World, ed: Insider) -> None:
    local = (await world.access.tokens.create_service(ROOT, "local", {"*": ["admin"]}, sensitive=True)).token
    made = await bearer(world, local, "POST", "/people", {"email": "new@example.com", "grants": {P: ["approver"]}})
    new = await follow(world, made.json()["link"])
    assert why_not(await new.approve(await ed.propose("first"))) == [
        "a token that belongs to no person recently made an account or link for a person in it"
    ]
    world.clock.move(2 * DAY)
    ed, new = await again(world, ed), await again(world, new)
    assert why_not(await new.approve(await ed.propose("second"))) == [""]


async def test_a_second_factor_that_the_taker_over_set_up_keeps_the_account_theirs(
    world: World, ada: Insider, ann: Insider
) -> None:
    """Another administrator's link sets a password; the factor that stayed opens the account still."""
    bea = await insider(world, "bea", {"*": ["admin"]})
    as_ann = await follow(world, await ada.reset(ann.id), "taken over by ada 12")
    key = totp_key((await as_ann.api("POST", "/account/app")).json()["key"])
    code = totp.code_at(key, int(world.clock.now().timestamp()) // totp.STEP_S)
    assert (await as_ann.api("POST", "/account/app/confirm", {"code": code})).status_code == 200
    link = await bea.reset(ann.id)
    entered = await world.client().post(
        f"{API}/session/link",
        json={"link": link.partition("#")[2], "password": "only ann knows this 7"},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert entered.status_code == 201, entered.text
    async with world.services.database.reading() as connection:
        kept = await hands.changes(connection, world.clock.now())
    mine = [(each.kind, each.actor) for each in kept if each.person == ann.id and each.kind == "link"]
    assert mine == [("link", "ada@example.com"), ("link", "bea@example.com")]
    assert (await bea.api("DELETE", f"/people/{ann.id}/second-factors")).status_code == 204
    back = await follow(world, await bea.reset(ann.id), "only ann knows this 8")
    assert why_not(await back.approve(await ada.propose("seen-by-ann"))) == [""]
