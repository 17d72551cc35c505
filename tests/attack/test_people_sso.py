"""Single sign-on, after the sign-in: what the identity provider takes back is gone here, too. Against a real provider."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import httpx
import pytest
from oidc_provider_mock import run_server_in_thread

from controlplane.access.sso import SingleSignOn
from controlplane.errors import UnavailableError
from controlplane.settings import Secret
from tests.attack.insiders import API, Insider, P, insider, opens
from tests.integration.accessing import ROOT, World, open_world

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning"),  # the provider's own
]
ROLES = '{"sre": {"production": ["operator"]}, "leads": {"production": ["approver"]}}'
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def refreshing() -> Iterator[str]:
    with run_server_in_thread(require_nonce=True) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture(scope="module")
def forgetful() -> Iterator[str]:
    """A provider that hands out no refresh tokens."""
    with run_server_in_thread(require_nonce=True, issue_refresh_token=False) as server:
        yield f"http://localhost:{server.server_port}"


def opening(database_url: str, provider: str) -> "World":
    return open_world(  # type: ignore[return-value]
        database_url, oidc_issuer=provider, oidc_client_id="brownout", oidc_client_secret=Secret("hush"),
        oidc_roles=ROLES, oidc_recheck_minutes=10_000, oidc_tokens_days=30, oidc_roles_hours=24,
    )  # fmt: skip


@pytest.fixture
async def world(database_url: str, refreshing: str) -> AsyncIterator[World]:
    await has(refreshing, "sre")
    async with opening(database_url, refreshing) as opened:  # type: ignore[attr-defined]
        yield opened


async def has(provider: str, *groups: str) -> None:
    """What the provider says of Mara."""
    claims = {"email": "mara@example.com", "email_verified": True, "name": "Mara", "groups": list(groups)}
    async with httpx.AsyncClient() as admin:
        (await admin.put(f"{provider}/users/mara", json=claims)).raise_for_status()


async def revoke(provider: str) -> None:
    async with httpx.AsyncClient() as admin:
        (await admin.post(f"{provider}/users/mara/revoke-tokens")).raise_for_status()


async def enter(world: World) -> tuple[httpx.AsyncClient, Insider]:
    browser = world.client()
    began = await browser.get("/auth/oidc/start", params={"then": f"/e/{P}"})
    async with httpx.AsyncClient() as at_provider:
        back = (await at_provider.post(began.headers["location"], data={"sub": "mara"})).headers["location"]
    done = await browser.get(back)
    assert done.headers["location"] == f"/e/{P}"
    return browser, Insider(browser, (await browser.get(f"{API}/session")).json())


def sso(world: World) -> SingleSignOn:
    """Asks at once about everybody; the world's own asks once a week."""
    assert world.services.sso is not None
    world.services.sso.every = timedelta(0)
    return world.services.sso


async def test_groups_that_are_taken_away_are_gone_without_a_sign_in(world: World, refreshing: str) -> None:
    _, mara = await enter(world)
    laptop = (await mara.token())["token"]
    assert await opens(world, laptop) == {P: ["operator", "viewer"]}
    await has(refreshing, "leads")
    assert await sso(world).check_one()
    assert await opens(world, laptop) == {P: ["approver", "viewer"]}
    assert (await mara.api("GET", "/session")).json()["grants"] == {P: ["approver"]}
    await has(refreshing)
    assert await sso(world).check_one(), "the refresh token that came with the last answer works"
    assert await opens(world, laptop) == {}
    changed = [line.entry.event for line in await world.access.audit.list_events(ROOT, limit=5)]
    assert changed.count("sso_confirmed") == 2


async def test_whom_the_provider_disowns_is_out(world: World, refreshing: str) -> None:
    _, mara = await enter(world)
    laptop = (await mara.token())["token"]
    await revoke(refreshing)
    assert await sso(world).check_one()
    assert (await mara.api("GET", "/session")).status_code == 401
    assert await opens(world, laptop) is None
    assert not await sso(world).check_one(), "there is nothing left to ask with"
    assert (await world.access.audit.list_events(ROOT, limit=1))[0].entry.event == "sso_refused"
    await enter(world)
    assert await opens(world, laptop) == {P: ["operator", "viewer"]}, "they are confirmed again"


async def test_a_provider_that_says_nothing_is_believed_for_a_while_only(database_url: str, forgetful: str) -> None:
    await has(forgetful, "sre")
    async with opening(database_url, forgetful) as world:  # type: ignore[attr-defined]
        browser, mara = await enter(world)
        laptop = (await mara.token(lasts_s=90 * 86_400))["token"]
        ada = await insider(world, "ada", {"*": ["admin"]})
        await ada.api("POST", f"/people/{mara.id}/grants", {"environment": "staging", "role": "viewer"})
        await has(forgetful, "leads")
        assert await sso(world).check_one(), "its userinfo answers as long as the access token lives"
        assert await opens(world, laptop) == {P: ["approver", "viewer"], "staging": ["viewer"]}
        await revoke(forgetful)
        with pytest.raises(UnavailableError):
            await sso(world).check_one()
        for _ in range(23):
            world.clock.move(timedelta(hours=1))
            assert (await mara.api("GET", "/session")).status_code == 200
        world.clock.move(timedelta(hours=1))
        again = await browser.get(f"/e/{P}/history")
        assert again.headers["location"] == f"/auth/oidc/start?silent=true&then=/e/{P}/history"
        began = await browser.get(again.headers["location"])
        assert "prompt=none" in began.headers["location"]
        assert await opens(world, laptop) == {P: ["approver", "viewer"], "staging": ["viewer"]}
        world.clock.move(29 * DAY)
        assert await opens(world, laptop) is None, "nobody has confirmed for a month that there is a Mara"


async def test_a_silent_sign_in_that_cannot_be_silent_asks(world: World) -> None:
    browser = world.client()
    began = await browser.get("/auth/oidc/start", params={"then": f"/e/{P}", "silent": "true"})
    state = httpx.URL(began.headers["location"]).params["state"]
    back = await browser.get("/auth/oidc/callback", params={"error": "login_required", "state": state})
    assert back.headers["location"] == "/sign-in?sso=again"
    assert "has not confirmed you for a while" in (await browser.get(back.headers["location"])).text


async def test_a_role_that_a_group_gave_after_a_proposal_was_opened_approves_nothing_of_it(
    world: World, refreshing: str
) -> None:
    await world.access.rule.set(ROOT, P, 1)
    ed = await insider(world, "ed", {P: ["editor"]})
    _, mara = await enter(world)
    proposal = await ed.propose("alone")
    await has(refreshing, "leads")
    assert await sso(world).check_one()
    done = await mara.approve(proposal)
    assert done["approvals"][0]["why_not"] == "single sign-on made them approver after it was opened"
    assert await ed.commit(proposal) == 403


async def test_no_token_of_the_provider_stands_in_the_database_as_it_was_given(world: World) -> None:
    await enter(world)
    async with world.services.database.reading() as connection:
        from controlplane.access.queries import people

        row = await people.sso(connection, (await world.access.people.list_people(ROOT))[0].id)
    assert row is not None
    assert row.sealed is not None
    assert b"refresh" not in row.sealed
