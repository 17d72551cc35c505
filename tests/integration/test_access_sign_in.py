from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text

from controlplane.access.sessions import Origin
from controlplane.errors import NotFoundError
from tests.integration.accessing import PASSWORD, ROOT, URL, World, open_world

pytestmark = pytest.mark.anyio

BROWSER = {"Sec-Fetch-Site": "same-origin", "Origin": URL}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


async def sign_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/v1/session", json={"email": email, "password": password}, headers=BROWSER)


async def set_up(world: World, client: httpx.AsyncClient) -> httpx.Response:
    link = await world.access.people.setup_secret(ROOT)
    body = {"link": link, "email": "Mara@Example.com", "name": "Mara", "password": PASSWORD}
    return await client.post("/api/v1/session/link", json=body, headers=BROWSER)


async def test_the_setup_link_makes_one_administrator_and_then_no_more(world: World) -> None:
    link = await world.access.people.setup_secret(ROOT)
    client = world.client()
    body = {"link": link, "email": "Mara@Example.com", "name": "Mara", "password": PASSWORD}
    done = await client.post("/api/v1/session/link", json=body, headers=BROWSER)
    assert done.status_code == 201
    assert done.json()["name"] == "mara@example.com"
    assert done.json()["grants"] == {"*": ["admin"]}
    again = await client.post("/api/v1/session/link", json=body, headers=BROWSER)
    assert again.status_code == 404
    assert await world.access.people.setup_secret(ROOT) is None


async def test_a_session_is_a_host_cookie_that_scripts_cannot_read(world: World) -> None:
    client = world.client()
    done = await set_up(world, client)
    for cookie in done.headers.get_list("set-cookie"):
        assert cookie.startswith("__Host-brownout-")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert (await client.get("/api/v1/session")).json()["name"] == "mara@example.com"


async def test_wrong_unknown_and_disabled_are_answered_alike(world: World) -> None:
    await set_up(world, world.client())
    person = await world.person("ben@example.com", {"production": ["viewer"]})
    await world.access.people.disable(ROOT, person.person)
    answers = [
        await sign_in(world.client(), "mara@example.com", "not the password"),
        await sign_in(world.client(), "nobody@example.com"),
        await sign_in(world.client(), "ben@example.com"),
    ]
    assert {(a.status_code, a.json()["detail"]) for a in answers} == {(401, "the address or the password is wrong")}


async def test_what_postgres_cannot_hold_is_refused_and_no_fault_of_ours(world: World) -> None:
    await set_up(world, world.client())
    answer = await sign_in(world.client(), "mara\0@example.com")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_spans_and_numbers_beyond_any_are_refused(world: World) -> None:
    client = world.client(await world.token({"*": ["admin"]}))
    for beyond in (10**18, -(10**18)):
        body = {"name": "ci", "grants": {"production": ["viewer"]}, "lasts_s": beyond}
        assert (await client.post("/api/v1/tokens/service", json=body)).status_code == 422
        turned = await client.post("/api/v1/environments/production/signing-key/rotate", json={"overlap_s": beyond})
        assert turned.status_code == 422
        assert (await client.get(f"/api/v1/environments/production/history/{beyond * 10**9}")).status_code == 404


async def test_signing_out_ends_the_session_at_once(world: World) -> None:
    client = world.client()
    csrf = (await set_up(world, client)).json()["csrf"]
    cookies = dict(client.cookies)
    assert (await client.delete("/api/v1/session", headers={**BROWSER, "X-CSRF-Token": csrf})).status_code == 204
    stale = world.client()
    stale.cookies.update(cookies)
    assert (await stale.get("/api/v1/session")).status_code == 401


async def test_sessions_are_listed_and_ended_one_by_one(world: World) -> None:
    first, second = world.client(), world.client()
    await set_up(world, first)
    csrf = (await sign_in(second, "mara@example.com")).json()["csrf"]
    listed = (await second.get("/api/v1/sessions")).json()["items"]
    assert sorted(item["current"] for item in listed) == [False, True]
    other = next(item["id"] for item in listed if not item["current"])
    await second.delete(f"/api/v1/sessions/{other}", headers={**BROWSER, "X-CSRF-Token": csrf})
    assert (await first.get("/api/v1/session")).status_code == 401
    assert (await second.get("/api/v1/session")).status_code == 200


async def test_a_session_ends_when_idle_and_in_any_case_after_a_week(world: World) -> None:
    client = world.client()
    await set_up(world, client)
    for _ in range(13):
        world.clock.move(timedelta(hours=12))
        assert (await client.get("/api/v1/session")).status_code == 200
    world.clock.move(timedelta(hours=13))
    assert (await client.get("/api/v1/session")).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://evil.brownout.example"},
        {"Origin": "https://evil.example"},
        {},
        BROWSER,
        {**BROWSER, "X-CSRF-Token": "f" * 64},
    ],
    ids=["cross-site", "same-site", "foreign-origin", "nothing", "no-token", "wrong-token"],
)
async def test_a_browser_session_changes_nothing_without_the_pages_token(world: World, headers: dict[str, str]) -> None:
    client = world.client()
    csrf = (await set_up(world, client)).json()["csrf"]
    if "X-CSRF-Token" not in headers and headers != BROWSER and headers:
        headers = {**headers, "X-CSRF-Token": csrf}
    body = {"email": "eve@example.com"}
    assert (await client.post("/api/v1/people", json=body, headers=headers)).status_code == 403
    good = {**BROWSER, "X-CSRF-Token": csrf}
    assert (await client.post("/api/v1/people", json=body, headers=good)).status_code == 201


async def test_sign_in_from_another_site_is_refused(world: World) -> None:
    await set_up(world, world.client())
    body = {"email": "mara@example.com", "password": PASSWORD}
    answer = await world.client().post("/api/v1/session", json=body, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403


async def test_changing_the_password_ends_the_other_sessions_and_unknows_their_devices(world: World) -> None:
    here, there = world.client(), world.client()
    csrf = (await set_up(world, here)).json()["csrf"]
    await sign_in(there, "mara@example.com")
    body = {"old": PASSWORD, "new": "another fine password"}
    changed = await here.post("/api/v1/session/password", json=body, headers={**BROWSER, "X-CSRF-Token": csrf})
    assert changed.status_code == 204
    assert (await here.get("/api/v1/session")).status_code == 200
    assert (await there.get("/api/v1/session")).status_code == 401
    assert (await sign_in(world.client(), "mara@example.com")).status_code == 401
    assert (await sign_in(world.client(), "mara@example.com", "another fine password")).status_code == 201


async def test_failures_slow_the_guesser_and_nobody_else(world: World) -> None:
    """Lock-out is impossible: the owner signs in from elsewhere, and from a known device even at the same address."""
    owner = world.client(address="203.0.113.5")
    await set_up(world, owner)
    guesser = world.client(address="198.51.100.66")
    codes = [(await sign_in(guesser, "mara@example.com", f"guess number {n}")).status_code for n in range(12)]
    assert codes[:5] == [401] * 5
    assert codes[-1] == 429
    assert (await sign_in(world.client(address="203.0.113.99"), "mara@example.com")).status_code == 201
    same_address = world.client(address="198.51.100.66")
    same_address.cookies.update(dict(owner.cookies))
    same_address.cookies.delete("__Host-brownout-session")
    assert (await sign_in(same_address, "mara@example.com")).status_code == 201
    world.clock.move(timedelta(seconds=61))
    assert (await sign_in(guesser, "mara@example.com")).status_code == 201


async def test_a_guesser_is_told_when_to_come_back(world: World) -> None:
    await set_up(world, world.client())
    guesser = world.client(address="198.51.100.67")
    form = {"email": "mara@example.com", "password": "a wrong guess"}
    for _ in range(5):
        await guesser.post("/sign-in", data=form, headers=BROWSER)
    world.clock.move(timedelta(milliseconds=-500))
    for refused in (await sign_in(guesser, form["email"]), await guesser.post("/sign-in", data=form, headers=BROWSER)):
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert "try again in 2 seconds" in refused.text


async def test_spraying_one_password_over_many_accounts_is_slowed_by_address(world: World) -> None:
    await set_up(world, world.client())
    sprayer = world.client(address="2001:db8::1")
    codes = {(await sign_in(sprayer, f"p{n}@example.com", "Summer2026!!!")).status_code for n in range(40)}
    assert codes == {401, 429}
    neighbour = world.client(address="2001:db8:0:1::1")
    assert (await sign_in(neighbour, "mara@example.com")).status_code == 201


async def test_no_secret_stands_in_the_database_as_it_was_given(world: World) -> None:
    client = world.client()
    await set_up(world, client)
    token = await world.token({"production": ["editor"]})
    key = await world.access.keys.create(ROOT, "production", "service")
    given = [*client.cookies.values(), token, key.key.partition(".")[0], PASSWORD]
    async with world.services.database.reading() as connection:
        for table in ("person", "session", "known_device", "api_token", "sdk_key", "one_time_link", "audit"):
            from sqlalchemy import text

            dump = str((await connection.execute(text(f"SELECT * FROM {table}"))).all())
            assert not any(secret in dump for secret in given), table


async def test_of_a_persons_links_only_the_newest_works_and_using_it_ends_the_rest(world: World) -> None:
    invited = await world.access.people.invite(ROOT, "eve@example.com", "", {"production": ["viewer"]})
    first = await world.access.people.reset(ROOT, invited.person)
    newest = await world.access.people.reset(ROOT, invited.person)
    other = await world.access.people.invite(ROOT, "noor@example.com", "", {"production": ["viewer"]})
    peek = world.access.sign_in.peek
    assert [await peek(each.secret) for each in (invited, first, newest, other)] == [None, None, "reset", "invite"]
    await world.access.sign_in.with_link(newest.secret, PASSWORD, Origin())
    for spent in (invited, first, newest):
        with pytest.raises(NotFoundError):
            await world.access.sign_in.with_link(spent.secret, PASSWORD, Origin())
    assert await peek(other.secret) == "invite"


async def test_a_link_dies_with_a_changed_password_and_with_its_persons_account(world: World) -> None:
    eve = await world.person("eve@example.com", {"production": ["viewer"]})
    link = await world.access.people.reset(ROOT, eve.person)
    await world.access.sign_in.change_password(eve, PASSWORD, "another fine password")
    assert await world.access.sign_in.peek(link.secret) is None
    link = await world.access.people.reset(ROOT, eve.person)
    await world.access.people.disable(ROOT, eve.person)
    await world.access.people.enable(ROOT, eve.person)
    with pytest.raises(NotFoundError):
        await world.access.sign_in.with_link(link.secret, PASSWORD, Origin())


async def test_an_administrator_of_one_environment_sees_nobodys_roles_in_another(world: World) -> None:
    eve = await world.person("eve@example.com", {"production": ["viewer"], "staging": ["operator"]})
    ada = await world.person("ada@example.com", {"production": ["admin"]})
    [seen] = [each for each in await world.access.people.list_people(ada) if each.id == eve.person]
    shown = await world.access.people.get(ada, eve.person)
    given = await world.access.people.grant(ada, eve.person, "production", "editor")
    assert {g.environment for g in (*seen.grants, *shown.grants, *given.grants)} == {"production"}
    assert {g.environment for g in (await world.access.people.get(eve, eve.person)).grants} == {"production", "staging"}


async def test_signing_out_works_however_many_sessions_there_are(world: World, database_url: str) -> None:
    eve = await world.person("eve@example.com", {"production": ["viewer"]})
    world.clock.move(timedelta(minutes=1))
    async with world.services.database.transaction() as connection:
        await connection.execute(
            text(
                "INSERT INTO session SELECT 's' || n, 's' || n, :person, 'sso', '', '', :at, :at, :ends, NULL "
                "FROM generate_series(1, 600) n"
            ),
            {"person": eve.person, "at": world.clock.now(), "ends": world.clock.now() + timedelta(hours=1)},
        )
    await world.access.sessions.end(eve, eve.credential)
    with pytest.raises(NotFoundError):
        await world.access.sessions.end(eve, eve.credential)
