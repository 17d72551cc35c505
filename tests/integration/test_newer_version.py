"""What a newer control plane committed is there for this one: every page and every list answers, whatever the kind."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from brownout.model.kinds import KINDS
from brownout.model.resources import Cohort
from brownout.wire import Operation
from controlplane.access.actor import Role
from controlplane.configuration.store import commit as commit_module
from controlplane.configuration.store import draft
from controlplane.contract.kinds import row
from controlplane.demo.document import load_demo
from controlplane.demo.rollout import start_rollout
from controlplane.resilience.drift import Drift
from controlplane.web.kit.assets import Assets
from controlplane.web.kit.render import UI, Templates
from controlplane.web.overview.live import LiveBoards
from tests.integration.accessing import ROOT, World, open_world
from tests.integration.doors import Door, browser_of, doors, knock
from tests.integration.resources import activation

pytestmark = pytest.mark.anyio

ENVIRONMENT = "production"
API = f"/api/v1/environments/{ENVIRONMENT}"
UNKNOWN_KIND = "weather_report"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        await load_demo(opened.services.documents, ROOT, ENVIRONMENT)
        await start_rollout(opened.services.rollouts, ROOT, ENVIRONMENT, 1)
        kind, key, spec = activation("now", "contain")
        await opened.services.store.commit(ENVIRONMENT, [put(kind, key, spec)], author="mara", message="on")
        yield opened


@pytest.fixture
async def admin(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(await world.token({ENVIRONMENT: [Role.ADMIN]}, "admin")) as client:
        yield client


def put(kind: str, key: str, spec: object) -> Operation:
    return Operation("put", kind, key, msgspec.Raw(msgspec.json.encode(spec, order="sorted")))


async def commit_as_newer(world: World, *ops: Operation) -> int:
    """Commits what this version would refuse, as a replica of a newer one does: checked there, stored like any other.

    The newer one also reads what its tiers require and what its ladders answer, so this one's judgement of that is no
    part of the commit either.
    """

    def read(index: int, operation: Operation) -> draft.Drafted:
        return draft.Drafted(index, Cohort(), bytes(operation.spec))  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draft, "_read", read)
        patch.setattr(draft, "KINDS", {**KINDS, UNKNOWN_KIND: None})
        patch.setattr(commit_module, "drift_of", unjudged)
        commit = world.services.store.commit
        return (await commit(ENVIRONMENT, ops, author="newer", message="newer", machine="rollout")).revision


async def unjudged(*_: object) -> Drift:
    return Drift()


def newer(kind: str, spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Keys and specs: a field that is not known here, then an unknown value in the place of each that is."""
    yield "newer", {**spec, "newer": {"a": [1]}}
    for field in msgspec.structs.fields(KINDS[kind].struct):
        for name, value in (("object", {"a": [1]}), ("text", "newer")):
            yield f"newer-{field.name}-{name}".replace("_", "-"), {**spec, field.encode_name: value}


async def commit_newer(world: World, *kinds: str) -> list[str]:
    """Commits a newer resource of each kind for each way in which it may be newer; returns their keys."""
    ops: list[Operation] = []
    for kind in kinds:
        if kind == UNKNOWN_KIND:
            ops.append(put(kind, "newer", {"a": 1}))
            continue
        present = (await world.services.store.list_resources(ENVIRONMENT, kind)).items
        assert present, f"the demo has no {kind}"
        for item in present[:2]:
            specs = dict(newer(kind, msgspec.json.decode(item.spec)))
            ops += (put(kind, f"{item.key}.{key}", spec) for key, spec in specs.items())
            ops.append(put(kind, item.key, specs["newer"]))
    await commit_as_newer(world, *ops)
    return [op.key for op in ops]


def rooms(world: World, kind: str, keys: list[str], revision: int) -> Iterator[str]:
    """The path of each page and list of an environment; of those of one resource, one for each key of its kind."""
    for door in doors(world):
        if door.method != "GET" or not door.has_environment:
            continue
        path = door.path.replace("{environment:str}", ENVIRONMENT).replace("{kind:str}", kind)
        path = path.replace("{revision:int}", str(revision)).replace("{step:str}", "pause")
        path = path.replace("{proposal:int}", "1").replace("{flag:str}", "support-model")
        if "{key:str}" not in path:
            yield path
        elif (
            f"/{row(kind).path}/" in path
            or f"/{kind}/" in path
            or (kind == "safe_mode_activation" and "safe-mode/" in path)
        ):
            yield from (path.replace("{key:str}", key) for key in keys)


@pytest.mark.parametrize("kind", [*KINDS, UNKNOWN_KIND])
async def test_every_page_and_list_answers(world: World, kind: str) -> None:
    keys = await commit_newer(world, kind)
    revision = (await world.services.store.head(ENVIRONMENT)).revision
    browser = await browser_of(world, Role.ADMIN)
    token = await world.token({ENVIRONMENT: [Role.ADMIN]}, "admin")
    broken = []
    for path in rooms(world, kind, keys, revision):
        door = Door("GET", path, "", {})
        status = await knock(world, token if door.is_api else browser, door, ENVIRONMENT)
        if status >= 500 and not path.endswith("/signals"):
            broken.append((status, path))
    assert broken == []


NEWER_ACTIVATION = {
    "profile": "contain", "reason": "it invents refunds", "actor": "mara", "activated_at": "2026-01-01T00:00:00Z",
    "expires_at": "2999-01-01T00:00:00Z", "on_expiry": "ask", "newer": {"a": [1]},
    "scope": {"services": ["support-copilot"], "regions": ["eu"]},
}  # fmt: skip


async def stored(world: World, kind: str, key: str) -> Any:
    return msgspec.json.decode((await world.services.store.get_resource(ENVIRONMENT, kind, key)).spec)


async def test_a_newer_activation_is_extended_and_lifted_and_keeps_what_is_not_known_here(
    world: World, admin: httpx.AsyncClient
) -> None:
    await commit_as_newer(world, put("safe_mode_activation", "eu", NEWER_ACTIVATION))
    activations = f"{API}/safe-mode/activations"
    shown = await admin.get(f"{activations}/eu")
    assert (shown.status_code, shown.json()["newer"]) == (200, True)
    assert [each["newer"] for each in (await admin.get(f"{API}/safe-mode")).json()["active"]].count(True) == 1
    extended = await admin.post(f"{activations}/eu/extend", json={"for_s": 600, "reason": "still"})
    assert extended.status_code == 200, extended.text
    kept = await stored(world, "safe_mode_activation", "eu")
    assert kept.pop("expires_at") < "2999"
    assert kept == {name: value for name, value in NEWER_ACTIVATION.items() if name != "expires_at"}
    lifted = await admin.post(f"{activations}/eu/lift", json={"reason": "over"})
    assert lifted.status_code == 200, lifted.text
    assert (await admin.get(f"{activations}/eu")).status_code == 404


async def test_asking_for_safe_mode_again_extends_no_activation_whose_scope_is_not_understood(
    world: World, admin: httpx.AsyncClient
) -> None:
    await commit_as_newer(world, put("safe_mode_activation", "eu", {**NEWER_ACTIVATION, "scope": {"regions": ["eu"]}}))
    asked = {"profile": "contain", "reason": "everywhere", "for_s": 600}
    made = (await admin.post(f"{API}/safe-mode/activations", json=asked)).json()
    assert made["key"] != "eu"
    assert (await stored(world, "safe_mode_activation", "eu"))["scope"] == {"regions": ["eu"]}


async def test_an_activation_that_cannot_be_read_at_all_is_lifted(world: World, admin: httpx.AsyncClient) -> None:
    await commit_as_newer(world, put("safe_mode_activation", "all", {"profiles": ["contain", "strict"]}))
    activations = f"{API}/safe-mode/activations/all"
    assert "newer version" in (await admin.get(activations)).json()["reason"]
    refused = await admin.post(f"{activations}/extend", json={"for_s": 600})
    assert (refused.status_code, refused.json()["code"]) == (409, "newer_version")
    assert (await admin.post(f"{activations}/lift", json={})).status_code == 200


async def test_the_console_says_which_of_them_a_newer_version_wrote(world: World) -> None:
    await commit_newer(world, *KINDS)
    session = await browser_of(world, Role.ADMIN)
    async with world.client() as browser:
        browser.headers["Cookie"] = f"__Host-brownout-session={session.cookie}"
        for path in ("flags", "cohorts", "request-classes", "safe-mode-profiles", "response-templates", "rollouts", ""):
            page = await browser.get(f"/e/{ENVIRONMENT}/{path}".rstrip("/"))
            assert "Written by a newer version of Brownout" in page.text, path


async def test_live_pages_stay_live(world: World) -> None:
    await commit_newer(world, *KINDS)
    boards = LiveBoards(world.services, Templates(Assets.load(UI / "dist")))
    events = boards.events(ENVIRONMENT, 0)
    assert await anext(events)
    async for event in events:
        if b"event: html" in event:
            break
    await events.aclose()
