"""Postgres is away and safe mode is switched all the same: at once in the fleet, and once in the log afterwards."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest

from brownout import Brownout, wire
from controlplane.access.passes import Holders
from controlplane.access.sessions import Origin
from controlplane.app import create_app
from controlplane.configuration.store.migrate import migrate
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.emergency.book import Book, Kept, Place, Told
from controlplane.emergency.values import NOTICE
from controlplane.errors import UnavailableError
from controlplane.kit.database import Database
from tests.integration.test_health import ROOT, Plane, _open, eventually, running
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio

CONTAIN = {"profile": "contain", "reason": "it invents refunds", "for_s": 1800}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A Postgres that these tests may stop."""
    with EmbeddedPostgres(_open(tmp_path_factory.mktemp("emergency")) / "postgres", durable=False) as started:
        yield started


class Site:
    """Two control planes on one Postgres and one NATS, and an SDK."""

    def __init__(self, server: EmbeddedPostgres, one: Plane, other: Plane, sdk: Brownout, operator_pass: str) -> None:
        self.server, self.one, self.other, self.sdk = server, one, other, sdk
        self.environment = one.environment
        self.headers = {"Brownout-Pass": operator_pass}
        self.begun = 0
        """The revision before the test."""

    @property
    def path(self) -> str:
        return f"/api/v1/environments/{self.environment}/safe-mode"

    async def post(self, path: str, body: dict[str, Any], plane: Plane | None = None, **headers: str) -> httpx.Response:
        http = (plane or self.one).http
        return await http.post(self.path + path, json=body, headers={**self.headers, **headers})

    async def activate(self, plane: Plane | None = None, **changes: Any) -> dict[str, Any]:
        response = await self.post("/activations", CONTAIN | changes, plane)
        assert response.status_code == 201, response.text
        return dict(response.json())

    async def switches(self) -> list[tuple[str, str, str, str]]:
        found = (await self.one.http.get(f"{self.path}/history")).json()["items"]
        return [(each["what"], each["key"], each["by"], each["activated_at"]) for each in reversed(found)
                if each["revision"] > self.begun]  # fmt: skip

    async def heard(self, *keys: str) -> None:
        await eventually(lambda: self._hears(set(keys)))

    async def _hears(self, keys: set[str]) -> bool:
        return {each.key for each in self.sdk._compiled.active} == keys

    async def origin(self, key: str, origin: str) -> None:
        async def says() -> bool:
            return (key, origin) in {(each.key, each.origin) for each in self.sdk._compiled.active}

        await eventually(says)

    async def start(self) -> None:
        self.server.start()  # on this thread: a server ends with the thread that started it
        await self.one.green()
        await self.other.green()


@pytest.fixture
async def site(shared: Site) -> Site:
    """Sound, with nothing switched on, whatever the test before has left."""
    if not shared.server.running:
        await shared.start()
    await eventually(lambda: _settled(shared))
    await eventually(lambda: _all_lifted(shared))
    await shared.heard()
    for plane in (shared.one, shared.other):
        assert await plane.services.emergency.refresh() == ""
    shared.begun = (await shared.one.services.store.head(shared.environment)).revision
    return shared


async def _all_lifted(site: Site) -> bool:
    """Without the pass, which a Postgres that is slow just now would turn into an emergency."""
    http = site.one.http
    found = await http.get(site.path)
    if found.status_code != 200:
        return False
    lifts = [await http.post(f"{site.path}/activations/{each['key']}/lift", json={}) for each in found.json()["active"]]
    return all(lift.status_code in {200, 404} for lift in lifts)


async def _settled(site: Site) -> bool:
    return not any(plane.services.emergency.reasons() for plane in (site.one, site.other))


@pytest.fixture(scope="module")
async def shared(server: EmbeddedPostgres, nats_server: EmbeddedNats) -> AsyncIterator[Site]:
    unique_environment = f"env-{uuid4().hex[:12]}"
    name = unique_environment.replace("-", "_")
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    database = Database(server.dsn(name))
    await migrate(database)
    await database.close()
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(running(server.dsn(name), unique_environment, nats_url=nats_server.url))
            for _ in range(2)
        ]
        key = (await one.services.access.keys.create(ROOT, unique_environment, "sdk")).key
        sdk = Brownout.connect(nats_server.url, key=key, environment=unique_environment, service="s", disk=False)
        stack.push_async_callback(asyncio.to_thread, sdk.close)
        actor = await one.services.access.authenticator.by_bearer(one.http.headers["Authorization"][7:], "")
        made = one.services.access.passes.issue(actor)
        assert made is not None
        site = Site(server, one, other, sdk, made)
        for plane in (one, other):
            assert await plane.services.emergency.refresh() == ""

        async def live() -> bool:
            return sdk.status.sync == "LIVE" and one.services.telemetry.fleet.live(unique_environment) == 1

        await eventually(live)
        yield site


async def test_an_activation_without_postgres_reaches_the_fleet_and_then_the_log_once(site: Site) -> None:
    site.server.stop()
    done = await site.activate()
    assert (done["commit"], done["notice"], done["delivery"]) == (None, NOTICE, None)
    await site.heard(done["key"])
    assert [one.origin for one in site.sdk._compiled.active] == ["emergency"]
    status = (await site.one.http.get(site.path, headers=site.headers)).json()
    assert [(each["key"], each["origin"]) for each in status["active"]] == [(done["key"], "emergency")]
    assert (await site.one.http.get("/readyz")).status_code == 200
    assert "carried by the fleet" in await site.one.red(f"emergency {site.environment}")
    await eventually(lambda: _carried(site))
    await site.start()
    await site.origin(done["key"], "log")
    ((what, key, by, began),) = await site.switches()
    assert (what, key, by) == ("on", done["key"], "test")
    entries = (await site.one.http.get("/api/v1/audit", params={"environment": site.environment})).json()["items"]
    assert [each["entry"]["actor"] for each in entries if each["entry"]["target"] == f"r{site.begun + 1}"] == ["test"]
    assert began < (await site.one.http.get(f"{site.path}/history")).json()["items"][0]["at"]
    assert (await site.one.services.store.verify_history(site.environment)).broken is None


async def _carried(site: Site) -> bool:
    done = await site.activate()
    return done["extended"] is True and done["carried"] == {"applied": 1, "expected": 1}


async def test_two_replicas_and_two_requests_are_one_activation(site: Site) -> None:
    site.server.stop()
    once = {"Idempotency-Key": "incident-7"}
    done = [
        (await site.post("/activations", CONTAIN, plane, **once)).json() for plane in (site.one, site.other, site.one)
    ]
    assert len({each["key"] for each in done}) == 1
    await site.heard(done[0]["key"])
    await site.start()
    await site.origin(done[0]["key"], "log")
    assert len(await site.switches()) == 1

    async def replayed() -> bool:
        again = (await site.post("/activations", CONTAIN, **once)).json()
        assert again["key"] == done[0]["key"]
        return again["commit"] is not None and bool(again["commit"]["replayed"])

    await eventually(replayed)
    assert len(await site.switches()) == 1


async def test_what_is_lifted_again_stays_off_and_history_has_both(site: Site) -> None:
    site.server.stop()
    done = await site.activate()
    await site.heard(done["key"])
    lifted = (await site.post(f"/activations/{done['key']}/lift", {"reason": "over"}, site.one)).json()
    assert lifted["expires_at"] is None
    await site.heard()
    await site.start()

    async def both() -> bool:
        return [each[:2] for each in await site.switches()] == [("on", done["key"]), ("off", done["key"])]

    await eventually(both)
    await site.heard()


async def test_a_postgres_that_hangs_holds_nothing_up_and_a_commit_of_unknown_outcome_is_made_once(site: Site) -> None:
    pids = await _backends(site.server)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        done = await site.activate()
        await site.heard(done["key"])
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    await site.one.green()
    await site.origin(done["key"], "log")
    assert len(await site.switches()) == 1


async def _backends(server: EmbeddedPostgres) -> list[int]:
    """Everything that runs for this Postgres, it last: who is stopped first cannot be started again by it."""
    import psutil

    return [*(child.pid for child in psutil.Process(server.pid).children(recursive=True)), server.pid]


@pytest.mark.parametrize("on_expiry", ["lift", "hold"])
async def test_an_activation_that_ended_before_postgres_is_back_is_committed_all_the_same(
    site: Site, on_expiry: str
) -> None:
    """What ended is history, and a `hold` still applies: only a person lifts it."""
    site.server.stop()
    done = await site.activate(on_expiry=on_expiry)
    emergency = site.one.services.emergency
    record = emergency._get(site.environment, done["key"])
    began = datetime.now(UTC) - timedelta(hours=2)
    spec = msgspec.structs.replace(record.spec, activated_at=began, expires_at=began + timedelta(minutes=5))
    asked = record.asked()
    assert asked is not None
    place = emergency._place(site.environment)
    await emergency._say(place, done["key"], "on", asked.actor, spec=spec, request=asked.request)
    assert bool(emergency.active(site.environment)) is (on_expiry == "hold"), "SDKs carry a hold for the whole hour"
    await site.start()

    async def handed_over() -> bool:
        return [each[:2] for each in await site.switches()] == expected

    expected = [("on", done["key"])] + [("expired", done["key"])] * (on_expiry == "lift")
    await eventually(handed_over)
    if on_expiry == "hold":
        await site.origin(done["key"], "log")
    else:
        await site.heard()


async def test_a_pass_touches_nothing_that_the_log_has_while_postgres_is_only_slow(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    switched = (await site.one.http.post(f"{site.path}/activations", json=CONTAIN)).json()
    before = await site.switches()
    authenticator = site.one.services.access.authenticator

    async def too_late(*_: object) -> None:
        raise UnavailableError("slow")

    monkeypatch.setattr(authenticator, "by_bearer", too_late)
    path = f"/activations/{switched['key']}"
    assert (await site.post(f"{path}/lift", {})).status_code == 404
    assert (await site.post(f"{path}/extend", {"for_s": 60})).status_code == 404
    beside = await site.activate(profile="humans-only")
    assert (beside["commit"], beside["notice"]) == (None, NOTICE)
    monkeypatch.undo()
    await site.origin(beside["key"], "log")
    assert [each[:2] for each in await site.switches()] == [*(each[:2] for each in before), ("on", beside["key"])]


async def test_a_read_only_postgres_is_as_good_as_none(site: Site) -> None:
    database = site.one.services.settings.database_url.reveal().rpartition("/")[2]
    connection = await asyncpg.connect(site.server.dsn())
    terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
    try:
        await connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        await connection.execute(terminate, database)
        done = await site.activate()
        assert done["notice"] == NOTICE
        await site.heard(done["key"])
        await connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        await connection.execute(terminate, database)
    finally:
        await connection.close()
    await site.origin(done["key"], "log")
    assert len(await site.switches()) == 1


async def test_without_a_pass_or_with_one_that_does_not_hold_nothing_happens(site: Site) -> None:
    site.server.stop()
    genuine = site.headers["Brownout-Pass"]
    for shown, status in (
        ("", 503),
        ("bo_pass_", 401),
        (genuine[:-2] + ("AA" if not genuine.endswith("AA") else "BB"), 401),
        (genuine.replace("bo_pass_", "bo_pass_A"), 401),
        ("x" * 5_000, 401),
    ):
        response = await site.post("/activations", CONTAIN, **{"Brownout-Pass": shown})
        assert response.status_code == status, response.text
    site.one.services.access.passes.holders = msgspec.structs.replace(
        site.one.services.access.passes.holders, ended=frozenset({_said(genuine)["credential"]})
    )
    assert (await site.post("/activations", CONTAIN)).status_code == 401
    assert site.one.services.emergency.active(site.environment) == ()


def _said(text: str) -> dict[str, Any]:
    from base64 import urlsafe_b64decode

    payload = text.removeprefix("bo_pass_").partition(".")[0]
    return dict(msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


async def test_a_request_that_is_wrong_is_refused_as_ever(site: Site) -> None:
    site.server.stop()
    for changes, pointer in (
        ({"profile": "gone"}, "/profile"),
        ({"for_s": 1}, "/for_s"),
        ({"scope": {"request_classes": ["gone"]}}, "/scope/request_classes/0"),
        ({"scope": {"cohorts": ["gone"]}}, "/scope/cohorts/0"),
    ):
        body: dict[str, Any] = CONTAIN | changes
        response = await site.post("/activations", body)
        assert response.status_code == 422, response.text
        assert response.json()["faults"][0]["pointer"] == pointer
    lifted = await site.post("/activations/unheard-of/lift", {})
    assert lifted.status_code == 404


async def test_a_provider_is_excluded_by_a_profile_that_the_message_carries(site: Site) -> None:
    site.server.stop()
    done = await site.activate(profile="", exclude_providers=["anthropic"])
    await site.heard(done["key"])
    (active,) = site.sdk._compiled.active
    assert active.profile.exclude_providers == ("anthropic",)
    await site.start()
    await site.origin(done["key"], "log")
    assert (await site.one.services.store.find_resource(
        site.environment, "safe_mode_profile", "provider-outage-anthropic"
    )) is not None  # fmt: skip


async def test_a_browser_switches_by_a_page_from_memory(site: Site) -> None:
    services = site.one.services
    grants = {site.environment: ["operator"]}
    invited = await services.access.people.invite(ROOT, f"{uuid4().hex[:8]}@example.com", "on call", grants)
    signed_in = await services.access.sign_in.with_link(invited.secret, "a long enough password", Origin("127.0.0.1"))
    await services.emergency.refresh()
    transport = httpx.ASGITransport(create_app(services))
    activate = f"/e/{site.environment}/safe-mode/activate"
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
        browser.cookies.set("brownout-session", signed_in.secret)
        assert (await browser.get(activate)).status_code == 200
        assert browser.cookies["brownout-pass"].startswith("bo_pass_")
        site.server.stop()
        away = await browser.get(f"/e/{site.environment}/flags")
        assert (away.status_code, f"/e/{site.environment}/safe-mode/emergency" in away.text) == (503, True)
        shown = (await browser.get(activate)).text
        assert "without the database" in shown
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown))
        fields |= {"profile": "contain", "for_s": "900", "reason": "it invents refunds"}
        forged = await browser.post(activate, data=fields | {"csrf": "0" * 64})
        assert forged.status_code == 403
        wrong = await browser.post(activate, data=fields | {"reason": " "})
        assert (wrong.status_code, "needs a reason" in wrong.text) == (422, True)
        done = await browser.post(activate, data=fields)
        assert (done.status_code, NOTICE in done.text) == (200, True)
        again = await browser.post(activate, data=fields)
        assert again.text.count("<tr>") == 2, "the header and one activation"
        (active,) = services.emergency.active(site.environment)
        await site.heard(active.key)
        lifted = await browser.post(
            f"/e/{site.environment}/safe-mode/emergency/lift", data={"csrf": fields["csrf"], "key": active.key}
        )
        assert lifted.status_code == 200
        await site.heard()


def test_a_replica_that_starts_again_still_hands_over_what_it_carried(tmp_path: Path) -> None:
    """The disk has it, sealed: nothing of it can be read without the secret key."""
    book = Book([SECRET_KEY], tmp_path)
    told = Told("production", b'{"v":1}', "k.sig")
    place = Place(
        "production", "Production", "k", bytes(32), wire.KeyChain(1, "production", ()), 7, {"contain": b"{}"}, {}
    )
    holders = Holders({"p-1": {"*": ("operator",)}}, {}, frozenset({"s-1"}), 5)
    asyncio.run(book.keep(Kept({"production": place}, holders, (told,))))
    again = Book([SECRET_KEY], tmp_path)
    assert again.load()
    assert again.kept == book.kept
    (file,) = tmp_path.iterdir()
    sealed = file.read_bytes()
    later = msgspec.structs.replace(book.kept.holders, read_at=6)
    asyncio.run(again.keep(msgspec.structs.replace(book.kept, holders=later)))
    assert file.read_bytes() == sealed, "nothing but the instant of reading has changed"
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"operator" not in file.read_bytes()
    assert not Book(["another secret key, which is long enough, too"], tmp_path).load()
    file.write_bytes(file.read_bytes()[:-1])
    assert not Book([SECRET_KEY], tmp_path).load()
