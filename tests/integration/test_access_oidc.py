"""Against a real OpenID provider, run in a thread."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from oidc_provider_mock import User, run_server_in_thread

from controlplane.settings import Secret
from tests.integration.accessing import ROOT, URL, World, open_world

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning"),  # the provider's own
]

USERS = (
    User(sub="mara", claims={"email": "mara@example.com", "email_verified": True, "name": "Mara", "groups": ["sre"]}),
    User(sub="otto", claims={"email": "otto@example.com", "email_verified": True, "groups": ["sales"]}),
    User(sub="eve", claims={"email": "root@example.com", "email_verified": False, "groups": []}),
    User(
        sub="ada",
        claims={
            "email": "ada@example.com",
            "email_verified": True,
            "groups": ["sre"],
            "amr": ["pwd", "mfa"],
            "acr": "phr",
            "auth_time": 2**32,
        },
    ),
    User(sub="rob", claims={"email": "root@example.com", "email_verified": True, "groups": []}),
)


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with run_server_in_thread(user_claims=USERS, require_nonce=True) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
async def world(database_url: str, provider: str) -> AsyncIterator[World]:
    async with open_world(
        database_url,
        oidc_issuer=provider,
        oidc_client_id="brownout",
        oidc_client_secret=Secret("hush"),
        oidc_roles='{"sre": {"production": ["operator"], "staging": ["editor"]}}',
    ) as opened:
        yield opened


async def start(browser: httpx.AsyncClient, then: str = "/e/production") -> str:
    began = await browser.get("/auth/oidc/start", params={"then": then})
    assert began.status_code == 302
    return began.headers["location"]


async def agree(url: str, sub: str) -> str:
    """What the person does at the provider; answers with where it sends them back to."""
    async with httpx.AsyncClient() as at_provider:
        return (await at_provider.post(url, data={"sub": sub})).headers["location"]


async def come_back(browser: httpx.AsyncClient, sub: str) -> httpx.Response:
    return await browser.get(await agree(await start(browser), sub))


async def test_groups_become_roles_and_the_browser_goes_where_it_wanted(world: World) -> None:
    browser = world.client()
    done = await come_back(browser, "mara")
    assert done.headers["location"] == "/e/production"
    who = (await browser.get("/api/v1/session")).json()
    assert (who["name"], who["grants"]) == (
        "mara@example.com",
        {"production": ["operator"], "staging": ["editor"]},
    )


async def test_the_request_carries_pkce_state_and_nonce_and_no_secret(world: World) -> None:
    query = parse_qs(urlsplit(await start(world.client())).query)
    assert query["code_challenge_method"] == ["S256"]
    assert all(len(query[name][0]) >= 32 for name in ("code_challenge", "state", "nonce"))
    assert "hush" not in str(query)


async def test_whoever_has_no_group_here_is_not_let_in(world: World) -> None:
    browser = world.client()
    done = await come_back(browser, "otto")
    assert done.headers["location"] == "/sign-in?sso=refused"
    assert (await browser.get("/api/v1/session")).status_code == 401


async def test_groups_are_asked_again_at_each_sign_in_and_local_roles_stay(world: World) -> None:
    await come_back(world.client(), "mara")
    [mara] = await world.access.people.list_people(ROOT)
    await world.access.people.grant(ROOT, mara.id, "production", "approver")
    assert world.services.sso is not None
    world.services.sso.oidc.settings.roles["sre"] = {"staging": ["viewer"]}
    browser = world.client()
    await come_back(browser, "mara")
    grants = (await browser.get("/api/v1/session")).json()["grants"]
    assert grants == {"production": ["approver"], "staging": ["viewer"]}


async def test_an_unverified_address_opens_nobodys_account(world: World) -> None:
    root = await world.person("root@example.com", {"*": ["admin"]})
    assert (await come_back(world.client(), "eve")).headers["location"] == "/sign-in?sso=refused"
    browser = world.client()
    assert (await come_back(browser, "rob")).headers["location"] == "/e/production"
    assert (await browser.get("/api/v1/session")).json()["person"] == root.person


async def test_a_disabled_person_stays_out(world: World) -> None:
    await come_back(world.client(), "mara")
    [mara] = await world.access.people.list_people(ROOT)
    await world.access.people.disable(ROOT, mara.id)
    assert (await come_back(world.client(), "mara")).headers["location"] == "/sign-in?sso=refused"


async def test_an_answer_begun_elsewhere_or_used_twice_opens_nothing(world: World) -> None:
    """Login CSRF and replay: the state is this browser's, the code is worth one session."""
    attacker, victim = world.client(), world.client()
    stolen = await agree(await start(attacker), "mara")
    assert (await victim.get(stolen)).headers["location"] == "/sign-in?sso=refused"
    await start(victim)
    assert (await victim.get(stolen)).headers["location"] == "/sign-in?sso=refused"
    assert (await attacker.get(stolen)).headers["location"] == "/e/production"
    assert (await attacker.get(stolen)).headers["location"] == "/sign-in?sso=refused"


@pytest.mark.parametrize("then", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
async def test_signing_in_leads_off_the_site_for_nobody(world: World, then: str) -> None:
    browser = world.client()
    back = await agree(await start(browser, then), "mara")
    assert back.startswith(URL)
    assert (await browser.get(back)).headers["location"] == "/"


async def test_a_provider_that_talks_nonsense_is_said_to_be_unavailable(database_url: str) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
        writer.close()

    async with await asyncio.start_server(nonsense, "127.0.0.1", 0) as server:
        issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        secret = Secret("hush")
        async with open_world(
            database_url, oidc_issuer=issuer, oidc_client_id="brownout", oidc_client_secret=secret, oidc_roles="{}"
        ) as world:  # fmt: skip
            assert await start(world.client()) == "/sign-in?sso=unavailable"


async def test_the_provider_must_have_asked_for_what_the_settings_say(database_url: str, provider: str) -> None:
    settings = {"oidc_issuer": provider, "oidc_client_id": "brownout", "oidc_client_secret": Secret("hush"),
                "oidc_roles": '{"sre": {"production": ["operator"]}}', "require_second_factor": "everyone",
                "second_factor_grace_days": 0}  # fmt: skip
    for asked, let_in in (
        ({"oidc_amr_values": "mfa hwk"}, {"ada"}), ({"oidc_acr_values": "phr phrh"}, {"ada"}),
        ({"oidc_acr_values": "phrh"}, set()), ({}, {"ada", "mara"}),
    ):  # fmt: skip
        async with open_world(database_url, **settings, **asked) as world:
            for sub in ("ada", "mara"):
                browser = world.client()
                query = parse_qs(urlsplit(await start(browser)).query)
                assert query.get("acr_values", [""]) == [asked.get("oidc_acr_values", "")]
                done = await come_back(browser, sub)
                assert (done.headers["location"] == "/e/production") == (sub in let_in), (asked, sub)
                if sub in let_in:
                    assert (await browser.get("/api/v1/session")).json()["stage"] == "", "the provider answers for them"


async def test_who_comes_from_the_provider_proves_themselves_there_and_keeps_their_session(world: World) -> None:
    browser = world.client()
    await come_back(browser, "ada")
    who = (await browser.get("/api/v1/session")).json()
    await world.access.people.grant(ROOT, who["person"], "production", "admin")
    world.clock.move(timedelta(minutes=16))
    headers = {"X-CSRF-Token": who["csrf"], "Sec-Fetch-Site": "same-origin", "Origin": URL}

    async def make() -> httpx.Response:
        return await browser.post("/api/v1/environments/production/sdk-keys", json={"name": "x"}, headers=headers)

    refused = await make()
    assert (refused.status_code, refused.json()["proofs"]) == (403, ["sso"])
    began = await browser.get("/auth/oidc/start", params={"then": "/account/proven", "fresh": "true"})
    query = parse_qs(urlsplit(began.headers["location"]).query)
    assert (query["prompt"], query["max_age"]) == (["login"], ["0"])
    assert (await browser.get(await agree(began.headers["location"], "mara"))).headers[
        "location"
    ] == "/sign-in?sso=refused"
    assert (await make()).status_code == 403, "somebody else's proof"
    began = await browser.get("/auth/oidc/start", params={"then": "/account/proven", "fresh": "true"})
    assert (await browser.get(await agree(began.headers["location"], "ada"))).headers["location"] == "/account/proven"
    assert (await make()).status_code == 201, "the same session, the same page's token"
