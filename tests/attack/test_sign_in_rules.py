"""Who needs a second factor, from where people and tokens come, how long they stay, with which passwords."""

from datetime import timedelta
from typing import Any

import pytest

from controlplane.access.values import Event
from tests.attack.signing_in import Visitor, person_id, visitor
from tests.integration.accessing import PASSWORD, ROOT, open_world

pytestmark = pytest.mark.anyio

ADMIN = {"*": ["admin"]}
INSIDE, OUTSIDE = "198.51.100.7", "203.0.113.9"


async def test_an_administrator_without_a_second_factor_can_only_set_one_up(database_url: str) -> None:
    async with open_world(database_url, require_second_factor="admins") as world:
        mara = await visitor(world, "mara@example.com", ADMIN)
        assert (await mara.send("GET", "/session")).json()["stage"] == "enrol"
        for method, path in (("GET", "/environments"), ("POST", "/tokens"), ("GET", "/people"), ("GET", "/sessions")):
            answer = await mara.send(method, path, {"name": "x"} if method == "POST" else None)
            assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_required"), path
        page = await mara.http.get("/e/production")
        assert (page.status_code, page.headers["location"]) == (303, "/account")
        assert "Set up a second factor" in (await mara.http.get("/account")).text
        await mara.set_up_app()
        assert (await mara.send("GET", "/environments")).status_code == 200
        ben = await visitor(world, "ben@example.com", {"production": ["operator"]})
        assert (await ben.send("GET", "/session")).json()["stage"] == ""


async def test_who_is_here_already_has_a_grace_period_and_their_tokens_end_with_it(database_url: str) -> None:
    async with open_world(database_url) as world:
        mara = await visitor(world, "mara@example.com", ADMIN)
        token = (await mara.send("POST", "/tokens", {"name": "cli"})).json()["token"]
    async with open_world(database_url, require_second_factor="admin@production", second_factor_grace_days=3) as world:
        mara = Visitor(world)
        assert (await mara.sign_in("mara@example.com")).json()["stage"] == ""
        world.clock.move(timedelta(days=2, hours=23))
        assert (await world.client(token).get("/api/v1/environments")).status_code == 200
        world.clock.move(timedelta(hours=2))
        assert (await mara.sign_in("mara@example.com")).json()["stage"] == "enrol"
        refused = await world.client(token).get("/api/v1/environments")
        assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required")
        await mara.set_up_app()
        assert (await world.client(token).get("/api/v1/environments")).status_code == 200


async def test_a_role_given_later_brings_the_requirement_with_it(database_url: str) -> None:
    async with open_world(
        database_url, require_second_factor="operator@production", second_factor_grace_days=0
    ) as world:
        mara = await visitor(world, "mara@example.com", {"staging": ["operator"]})
        assert (await mara.send("GET", "/session")).json()["stage"] == ""
        await world.access.people.grant(ROOT, await person_id(world, "mara@example.com"), "production", "operator")
        assert (await mara.send("GET", "/session")).json()["stage"] == "enrol"


async def test_only_networks_of_the_setting_may_come_in_and_probes_stay_open(database_url: str) -> None:
    async with open_world(database_url, allowed_addresses="198.51.100.0/24, 2001:db8::/32") as world:
        mara = await visitor(world, "mara@example.com", ADMIN)
        token = (await mara.send("POST", "/tokens", {"name": "cli"})).json()["token"]
        for address, status in (
            (INSIDE, 200), ("2001:db8::1", 200), ("::ffff:198.51.100.7", 200),
            (OUTSIDE, 403), ("2001:db9::1", 403), ("::ffff:203.0.113.9", 403),
        ):  # fmt: skip
            assert (await world.client(token, address).get("/api/v1/environments")).status_code == status, address
        outside = Visitor(world, OUTSIDE)
        refused = await outside.sign_in("mara@example.com")
        assert (refused.status_code, refused.json()["code"]) == (403, "address_not_allowed")
        outside.http.cookies.update(dict(mara.http.cookies.items()))
        assert (await outside.http.get("/e/production")).status_code == 403
        assert (await outside.http.get("/sign-in")).status_code == 403
        for probe in ("/livez", "/readyz", "/metrics"):
            assert (await outside.http.get(probe)).status_code == 200, probe
        key = await world.access.keys.create(ROOT, "production", "service")
        asked = await world.client(key.key, OUTSIDE).post("/ofrep/v1/evaluate/flags", json={"context": {}})
        assert asked.status_code == 200, "services run where they run"


async def test_a_rule_takes_a_role_away_elsewhere_and_nothing_more(database_url: str) -> None:
    async with open_world(database_url) as world:
        token = await world.token({"*": ["admin"], "production": ["viewer"]})
        rule = {"networks": ["198.51.100.0/24"], "environment": "production", "role": "admin"}
        assert (await world.client(token).put("/api/v1/address-rules", json=rule)).status_code == 200
        key = {"name": "x"}
        for address, production, staging, people in ((INSIDE, 201, 201, 200), (OUTSIDE, 403, 201, 403)):
            client = world.client(token, address)
            assert (await client.post("/api/v1/environments/production/sdk-keys", json=key)).status_code == production
            assert (await client.post("/api/v1/environments/staging/sdk-keys", json=key)).status_code == staging
            assert (await client.get("/api/v1/environments/production")).status_code == 200
            assert (await client.get("/api/v1/address-rules")).status_code == people
        assert (await world.client(token).delete("/api/v1/address-rules?environment=production&role=admin")).is_success
        assert (await world.client(token, OUTSIDE).get("/api/v1/address-rules")).status_code == 200


@pytest.mark.parametrize("networks", [["10.0.0.0/8"], ["198.51.100.8"], ["::/0"]])
async def test_nobody_locks_themselves_out_by_accident(database_url: str, networks: list[str]) -> None:
    async with open_world(database_url) as world:
        client = world.client(await world.token(ADMIN))
        refused = await client.put("/api/v1/address-rules", json={"networks": networks})
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert (await client.get("/api/v1/address-rules")).json()["items"] == []
        assert (
            await client.put("/api/v1/address-rules", json={"networks": networks, "force": True})
        ).status_code == 200
        assert (await client.get("/api/v1/address-rules")).status_code == 403
        assert await world.access.addresses.clear(ROOT) == 1
        assert (await client.get("/api/v1/address-rules")).status_code == 200


@pytest.mark.parametrize("networks", [[], [""], ["10.0.0.0/33"], ["localhost"], ["198.51.100.0/24\0"]])
async def test_what_is_no_network_is_refused(database_url: str, networks: list[str]) -> None:
    async with open_world(database_url) as world:
        client = world.client(await world.token(ADMIN))
        answer = await client.put("/api/v1/address-rules", json={"networks": networks})
        assert answer.status_code == 422


async def test_a_token_works_only_where_it_was_made_for(database_url: str) -> None:
    async with open_world(database_url) as world:
        made = await world.access.tokens.create_service(ROOT, "ci", ADMIN, networks=["203.0.113.0/24"])
        for address, status in ((INSIDE, 403), (OUTSIDE, 200)):
            assert (await world.client(made.token, address).get("/api/v1/environments")).status_code == status
        for _ in range(5):
            await world.client(made.token, INSIDE).get("/api/v1/environments")
        lines = await world.access.audit.list_events(ROOT, event=Event.DENIED)
        assert [(line.entry.actor, line.entry.address) for line in lines] == [("ci", INSIDE)], "once a minute"


async def test_sessions_end_when_the_settings_say(database_url: str) -> None:
    async with open_world(database_url, session_idle_minutes=30, session_hours=2) as world:
        mara = await visitor(world, "mara@example.com", ADMIN)
        for _ in range(4):
            world.clock.move(timedelta(minutes=29))
            assert (await mara.send("GET", "/session")).status_code == 200
        world.clock.move(timedelta(minutes=5))
        assert (await mara.send("GET", "/session")).status_code == 401
        cookie = (await mara.sign_in("mara@example.com")).headers.get_list("set-cookie")[0]
        assert "Max-Age=7200" in cookie
        world.clock.move(timedelta(minutes=31))
        assert (await mara.send("GET", "/session")).status_code == 401


async def test_no_token_outlives_the_setting(database_url: str) -> None:
    async with open_world(database_url, max_token_days=30) as world:
        client = world.client(await world.token(ADMIN))
        for days, status in ((30, 201), (31, 422)):
            body: dict[str, Any] = {"name": "ci", "grants": {"production": ["viewer"]}, "lasts_s": days * 86_400}
            assert (await client.post("/api/v1/tokens/service", json=body)).status_code == status


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("iloveyou12345", "too_common"),
        ("P4ssw0rd2024!!", "too_common"),
        ("liverpoolfc12", "too_common"),
        ("the brownout of mine", "too_obvious"),
        ("lindqvist by the sea", "too_obvious"),
        ("thirteen char", "too_short"),
    ],
)
async def test_known_passwords_are_refused_wherever_one_is_chosen(database_url: str, password: str, code: str) -> None:
    async with open_world(database_url, password_min_length=14 if code == "too_short" else 12) as world:
        setup = await world.access.people.setup_secret(ROOT)
        chosen = {"link": setup, "email": "mara@example.com", "name": "Mara Lindqvist", "password": password}
        visitor_ = Visitor(world)
        refused = await visitor_.send("POST", "/session/link", chosen)
        assert (refused.status_code, refused.json()["faults"][0]["code"]) == (422, code)
        assert (await visitor_.send("POST", "/session/link", {**chosen, "password": PASSWORD})).status_code == 201
        changed = await visitor_.send("POST", "/session/password", {"old": PASSWORD, "new": password})
        assert (changed.status_code, changed.json()["faults"][0]["pointer"]) == (422, "/new")
        invited = await world.access.people.invite(ROOT, "ben@example.com", "Ben Lindqvist", {"*": ["viewer"]})
        reset = await world.access.people.reset(ROOT, invited.person)
        answer = await Visitor(world).send("POST", "/session/link", {"link": reset.secret, "password": password})
        assert (answer.status_code, answer.json()["faults"][0]["code"]) == (422, code)
