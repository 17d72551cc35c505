"""Whoever has a password, or a browser that somebody left open, gets no further than that."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from controlplane.access.values import Event
from tests.attack.authenticator import Authenticator
from tests.attack.signing_in import Visitor, person_id, visitor
from tests.integration.accessing import PASSWORD, ROOT, URL, World, open_world

pytestmark = pytest.mark.anyio

ADMIN = {"*": ["admin"]}
LATER = timedelta(minutes=16)
"""A fresh proof is none any more."""


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


async def test_a_password_alone_opens_nothing_of_somebody_with_a_second_factor(world: World) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    await mara.set_up_app()
    thief = Visitor(world)
    entered = (await thief.sign_in("mara@example.com")).json()
    assert (entered["stage"], entered["grants"], set(entered["proofs"])) == ("factor", {}, {"code", "recovery"})
    for method, path in (
        ("GET", "/environments"), ("GET", "/people"), ("POST", "/tokens"), ("GET", "/account/second-factors"),
        ("POST", "/account/app"), ("POST", "/session/password"), ("GET", "/sessions"), ("POST", "/session/proof"),
    ):  # fmt: skip
        answer = await thief.send(method, path, {"name": "x"} if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_required"), path
    page = await thief.http.get("/e/production")
    assert (page.status_code, page.headers["location"]) == (303, "/sign-in/second-factor?next=/e/production")
    assert (await thief.send("POST", "/session/second-factor", {"code": "000000"})).status_code == 422
    assert (await thief.http.get("/api/v1/session")).json()["stage"] == "factor"


async def test_the_right_code_opens_a_new_session_and_is_refused_a_second_time(world: World) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    await mara.set_up_app()
    code = mara.code()
    first, second = Visitor(world), Visitor(world)
    await first.sign_in("mara@example.com")
    waiting = dict(first.http.cookies)
    done = await first.send("POST", "/session/second-factor", {"code": code})
    assert (done.status_code, done.json()["stage"], done.json()["grants"]) == (201, "", ADMIN)
    await second.sign_in("mara@example.com")
    replayed = await second.send("POST", "/session/second-factor", {"code": code})
    assert (replayed.status_code, replayed.json()["faults"][0]["code"]) == (422, "not_proven")
    old = world.client()
    old.cookies.update(waiting)
    assert (await old.get("/api/v1/session")).status_code == 401, "the half-open session is over"


@pytest.mark.parametrize(("shift", "status"), [(-2, 422), (-1, 201), (0, 201), (1, 201), (2, 422)])
async def test_a_clock_may_be_one_step_off(world: World, shift: int, status: int) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    await mara.set_up_app()
    world.clock.move(timedelta(minutes=5))
    again = Visitor(world)
    await again.sign_in("mara@example.com")
    answer = await again.send("POST", "/session/second-factor", {"code": mara.code(shift)})
    assert answer.status_code == status


async def test_an_earlier_code_than_the_last_one_is_refused(world: World) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    await mara.set_up_app()
    world.clock.move(timedelta(minutes=5))
    later, earlier = mara.code(1), mara.code(-1)
    for code, status in ((later, 201), (earlier, 422)):
        again = Visitor(world)
        await again.sign_in("mara@example.com")
        assert (await again.send("POST", "/session/second-factor", {"code": code})).status_code == status


async def test_a_recovery_code_works_once_however_it_is_typed(world: World) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    codes = await mara.set_up_app()
    assert len(set(codes)) == 10
    for attempt, status in ((codes[0].upper().replace("-", " "), 201), (codes[0], 422), (codes[1], 201)):
        again = Visitor(world)
        await again.sign_in("mara@example.com")
        assert (await again.send("POST", "/session/second-factor", {"code": attempt})).status_code == status
    left = (await mara.send("GET", "/account/second-factors")).json()
    assert left["recovery_codes"] == 8


async def test_guessing_codes_is_slowed_down_from_however_many_addresses(world: World) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    await mara.set_up_app()
    answers = []
    for number in range(12):
        thief = Visitor(world, f"203.0.113.{number}")
        await thief.sign_in("mara@example.com")
        answers.append(
            (await thief.send("POST", "/session/second-factor", {"code": f"00000{number % 10}"})).status_code
        )
    assert answers[:5] == [422] * 5
    assert set(answers[6:]) == {429}


async def test_a_reset_link_does_not_get_around_the_second_factor(world: World) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    await mara.set_up_app()
    link = await world.access.people.reset(ROOT, await person_id(world, "mara@example.com"))
    thief = Visitor(world)
    body = {"link": link.secret, "password": "another long password"}
    assert (await thief.send("POST", "/session/link", body)).json()["stage"] == "factor"


async def test_setting_up_the_first_factor_ends_other_sessions_and_wants_a_fresh_proof(world: World) -> None:
    mara, thief = await visitor(world, "mara@example.com", ADMIN), Visitor(world)
    await thief.sign_in("mara@example.com")
    await mara.set_up_app()
    assert (await thief.send("GET", "/session")).status_code == 401
    ben, left_open = await visitor(world, "ben@example.com", ADMIN), None
    world.clock.move(LATER)
    left_open = await ben.send("POST", "/account/app")
    assert (left_open.status_code, left_open.json()["code"], left_open.json()["proofs"]) == (
        403, "step_up_required", ["password"],
    )  # fmt: skip


SENSITIVE = (
    ("POST", "/environments/production/sdk-keys", {"name": "x"}),
    ("POST", "/environments/production/signing-key/rotate", {"overlap_s": 300}),
    ("POST", "/people", {"email": "eve@example.com"}),
    ("PATCH", "/environments/production", {"production": False}),
    ("PUT", "/environments/production/rule", {"requires_approvals": 0}),
    ("POST", "/environments/production/break-glass", {"reason": "why"}),
    ("POST", "/tokens", {"name": "x"}),
    ("POST", "/tokens/service", {"name": "x", "grants": {"*": ["admin"]}}),
    ("POST", "/account/recovery-codes", None),
    ("PUT", "/address-rules", {"networks": ["198.51.100.0/24"]}),
)


async def test_a_browser_left_open_does_nothing_sensitive_and_everything_else(world: World) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    world.clock.move(LATER)
    for method, path, body in SENSITIVE:
        answer = await mara.send(method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (403, "step_up_required"), path
    assert (await mara.send("GET", "/environments/production/sdk-keys")).status_code == 200
    scope: dict[str, list[str]] = {"services": [], "request_classes": [], "cohorts": [], "providers": []}
    on = {"profile": "contain", "reason": "an incident", "lasts_s": 600, "scope": scope}
    activated = await mara.send("POST", "/environments/production/safe-mode/activations", on)
    assert activated.json().get("code") != "step_up_required", "safe mode never asks"
    assert (await mara.send("POST", "/session/proof", {"password": "not it"})).status_code == 422
    assert (await mara.send("POST", "/session/proof", {"password": PASSWORD})).status_code == 204
    assert (await mara.send("POST", "/environments/production/sdk-keys", {"name": "x"})).status_code == 201


async def test_who_has_a_second_factor_proves_themselves_with_it_and_not_with_the_password(world: World) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    await mara.set_up_app()
    world.clock.move(LATER)
    assert (await mara.send("POST", "/session/proof", {"password": PASSWORD})).status_code == 422
    assert (await mara.send("POST", "/session/proof", {"code": mara.code()})).status_code == 204


async def test_a_form_that_needs_a_proof_asks_in_place_and_goes_on_with_what_was_typed(world: World) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    world.clock.move(LATER)
    typed = {"email": "eve@example.com", "name": 'Eve "<E>"', "role": "viewer", "place": "production"}
    asked = await mara.form("/e/production/access/people", typed)
    assert asked.status_code == 403
    assert "Confirm that it is you" in asked.text
    assert 'name="name" value="Eve &#34;&lt;E&gt;&#34;"' in asked.text
    assert 'action="/e/production/access/people"' in asked.text
    wrong = await mara.form("/e/production/access/people", {**typed, "proof_password": "not it"})
    assert (wrong.status_code, "the password is wrong" in wrong.text, "not it" in wrong.text) == (403, True, False)
    done = await mara.form("/e/production/access/people", {**typed, "proof_password": PASSWORD})
    assert done.status_code == 200
    assert "A link for eve@example.com" in done.text
    again = {"do": "break", "reason": "an incident"}
    assert (await mara.form("/e/production/access/approvals", again)).status_code == 303, "the proof lasts a while"
    world.clock.move(LATER)
    asked = await mara.form("/e/production/access/approvals", again)
    assert (asked.status_code, 'value="an incident"' in asked.text) == (403, True)


async def test_tokens_do_what_is_sensitive_only_when_made_for_it_or_proven(world: World) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    plain = (await mara.send("POST", "/tokens", {"name": "cli"})).json()["token"]
    strong = (await mara.send("POST", "/tokens", {"name": "ops", "sensitive": True})).json()["token"]
    machine = (await mara.send("POST", "/tokens/service", {"name": "ci", "grants": ADMIN})).json()["token"]
    path, body = "/api/v1/environments/production/sdk-keys", {"name": "x"}
    refused = await world.client(plain).post(path, json=body)
    assert (refused.status_code, refused.json()["proofs"]) == (403, ["password"])
    refused = await world.client(machine).post(path, json=body)
    assert (refused.status_code, refused.json().get("proofs"), "--sensitive" in refused.json()["detail"]) == (
        403, None, True,
    )  # fmt: skip
    assert (await world.client(strong).post(path, json=body)).status_code == 201
    proof = {"password": PASSWORD}
    assert (await world.client(machine).post("/api/v1/session/proof", json=proof)).status_code == 403
    assert (await world.client(plain).post("/api/v1/session/proof", json=proof)).status_code == 204
    assert (await world.client(plain).post(path, json=body)).status_code == 201
    world.clock.move(LATER)
    assert (await world.client(plain).post(path, json=body)).status_code == 403


async def test_a_passkey_signs_in_alone_and_each_answer_works_once(world: World) -> None:
    mara, laptop = await visitor(world, "mara@example.com", ADMIN), Authenticator(URL)
    assert len((await mara.add_passkey(laptop)).json()["codes"]) == 10
    browser = Visitor(world)
    options = (await browser.send("POST", "/session/passkey/begin")).json()["options"]
    assert (options["userVerification"], options["rpId"]) == ("required", "brownout.example")
    answer = {"passkey": laptop.get(options)}
    done = await browser.send("POST", "/session/passkey", answer)
    assert (done.status_code, done.json()["name"], done.json()["stage"]) == (201, "mara@example.com", "")
    assert (await browser.send("POST", "/session/passkey", answer)).status_code == 401, "replayed"


@pytest.mark.parametrize(
    "authenticator",
    [
        Authenticator("https://brownout.example.evil"),
        Authenticator("http://brownout.example"),
        Authenticator(URL, "evil.example"),
        Authenticator(URL, verifies=False),
    ],
    ids=["another-site", "without-tls", "another-rp", "nobody-verified"],
)
async def test_passkeys_of_elsewhere_and_without_verification_are_refused(
    world: World, authenticator: Authenticator
) -> None:
    mara = await visitor(world, "mara@example.com", ADMIN)
    assert (await mara.add_passkey(authenticator)).status_code == 401


async def test_a_challenge_belongs_to_the_session_and_purpose_that_asked_for_it(world: World) -> None:
    mara, ben = await visitor(world, "mara@example.com", ADMIN), await visitor(world, "ben@example.com", ADMIN)
    laptop = Authenticator(URL)
    await mara.add_passkey(laptop)
    options = (await ben.send("POST", "/account/passkeys/begin")).json()["options"]
    mara.http.cookies.update(dict(ben.http.cookies.items()) | dict(mara.http.cookies.items()))
    made = {"passkey": Authenticator(URL).create(options), "name": "stolen"}
    assert (await mara.send("POST", "/account/passkeys", made)).status_code == 401
    options = (await ben.send("POST", "/session/proof/begin")).json()["options"]
    assert (await ben.send("POST", "/session/proof", {"passkey": laptop.get(options)})).status_code == 422, "not ben's"
    options = (await mara.send("POST", "/session/proof/begin")).json()["options"]
    assert (await mara.send("POST", "/session/passkey", {"passkey": laptop.get(options)})).status_code == 401
    world.clock.move(timedelta(minutes=6))
    assert (await mara.send("POST", "/session/proof", {"passkey": laptop.get(options)})).status_code == 422, "too late"


@pytest.mark.parametrize(
    "nonsense", [{}, {"id": "x"}, {"id": 1, "rawId": 1}, {"response": {}}, {"rawId": "é", "id": "é"}]
)
async def test_nonsense_instead_of_a_passkey_is_refused(world: World, nonsense: dict[str, object]) -> None:
    browser = Visitor(world)
    await browser.send("POST", "/session/passkey/begin")
    assert (await browser.send("POST", "/session/passkey", {"passkey": nonsense})).status_code == 401


async def test_a_copied_passkey_is_noticed_by_its_counter(world: World) -> None:
    mara, laptop = await visitor(world, "mara@example.com", ADMIN), Authenticator(URL)
    await mara.add_passkey(laptop)
    laptop.count = 10
    for count, status in ((10, 201), (5, 401)):
        laptop.count, browser = count, Visitor(world)
        options = (await browser.send("POST", "/session/passkey/begin")).json()["options"]
        assert (await browser.send("POST", "/session/passkey", {"passkey": laptop.get(options)})).status_code == status
    lines = await world.access.audit.list_events(ROOT, event=Event.SIGN_IN)
    assert (lines[0].entry.outcome, "counter" in lines[0].entry.reason) == ("refused", True)


async def test_a_revoked_passkey_opens_nothing(world: World) -> None:
    mara, laptop, key = await visitor(world, "mara@example.com", ADMIN), Authenticator(URL), Authenticator(URL)
    await mara.add_passkey(laptop)
    await mara.add_passkey(key, "key in the safe")
    listed = (await mara.send("GET", "/account/second-factors")).json()["passkeys"]
    assert [each["name"] for each in listed] == ["laptop", "key in the safe"]
    assert (await mara.send("DELETE", f"/account/passkeys/{listed[0]['id']}")).status_code == 204
    for authenticator, status in ((laptop, 401), (key, 201)):
        browser = Visitor(world)
        options = (await browser.send("POST", "/session/passkey/begin")).json()["options"]
        answer = {"passkey": authenticator.get(options)}
        assert (await browser.send("POST", "/session/passkey", answer)).status_code == status


async def test_a_disabled_person_s_passkey_opens_nothing(world: World) -> None:
    mara, laptop = await visitor(world, "mara@example.com", ADMIN), Authenticator(URL)
    await visitor(world, "ben@example.com", ADMIN)
    await mara.add_passkey(laptop)
    await world.access.people.disable(ROOT, await person_id(world, "mara@example.com"))
    browser = Visitor(world)
    options = (await browser.send("POST", "/session/passkey/begin")).json()["options"]
    assert (await browser.send("POST", "/session/passkey", {"passkey": laptop.get(options)})).status_code == 401


async def test_an_administrator_forgets_factors_and_that_is_on_record(world: World) -> None:
    mara, ben = await visitor(world, "mara@example.com", ADMIN), await visitor(world, "ben@example.com", ADMIN)
    await mara.set_up_app()
    person = await person_id(world, "mara@example.com")
    assert (await ben.send("DELETE", f"/people/{person}/second-factors")).status_code == 204
    assert (await mara.send("GET", "/session")).status_code == 401
    assert (await Visitor(world).sign_in("mara@example.com")).json()["stage"] == ""
    lines = await world.access.audit.list_events(ROOT, event=Event.SECOND_FACTOR_RESET)
    assert [(line.entry.actor, line.entry.target) for line in lines] == [("ben@example.com", "mara@example.com")]
