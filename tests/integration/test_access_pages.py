"""The console's doors: every page, form and stream, as every role, in the own environment and in another one."""

import itertools
import json
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from controlplane.access.actor import PERMISSIONS, Action, Role
from controlplane.access.audit import Event
from controlplane.api import guard as guard_module
from tests.integration.accessing import ROOT, World, open_world
from tests.integration.doors import OTHER, OWN, ROLES, Browser, Door, bearer_of, browser_of, doors, knock

pytestmark = pytest.mark.anyio

EVERYBODY = {Role.VIEWER, Role.EDITOR, Role.OPERATOR, Role.APPROVER, Role.ADMIN}
EDITORS = {Role.EDITOR, Role.ADMIN}

PAGES = {
    # who sees what, in their own environment; decided by hand
    "/e/{environment:str}": EVERYBODY,
    "/e/{environment:str}/live": EVERYBODY,
    "/e/{environment:str}/fleet": EVERYBODY,
    "/e/{environment:str}/history": EVERYBODY,
    "/e/{environment:str}/flags/{key:str}": EVERYBODY,
    "/e/{environment:str}/safe-mode": EVERYBODY,
    "/e/{environment:str}/safe-mode/activate": {Role.OPERATOR, Role.ADMIN},
    "/e/{environment:str}/safe-mode/{key:str}/lift": {Role.OPERATOR, Role.ADMIN},
    "/e/{environment:str}/delete/{kind:str}/{key:str}": EDITORS,
    "/e/{environment:str}/restore/{revision:int}": EDITORS,
    "/e/{environment:str}/undo/{revision:int}": EDITORS,
    "/e/{environment:str}/rollouts/new": {Role.EDITOR, Role.OPERATOR, Role.ADMIN},
    "/e/{environment:str}/access/people": {Role.ADMIN},
    "/e/{environment:str}/access/keys": {Role.ADMIN},
    "/e/{environment:str}/access/audit": {Role.APPROVER, Role.ADMIN},
    "/e/{environment:str}/access/approvals": EVERYBODY,
    "/e/{environment:str}/access/tokens": EVERYBODY,
}

ACTIVATION = {
    "profile": "contain", "reason": "x", "actor": "eve", "on_expiry": "lift",
    "scope": {"services": [], "request_classes": [], "cohorts": [], "providers": []},
    "activated_at": "2026-01-01T00:00:00Z", "expires_at": "2036-01-01T00:00:00Z",
}  # fmt: skip


MORE_THAN_READING = {Action.MANAGE_KEYS, Action.MANAGE_PEOPLE, Action.READ_AUDIT}
"""What these pages show, readers do not see; an empty form shows nothing that they don't."""


SAYS_NOTHING = ("/palette", "/access")
"""Links to pages, and a redirect to one."""

REFUSED = {400, 403, 404}


class Form(NamedTuple):
    """A form whose fields decide what is done, and who may, in their own environment."""

    path: str
    fields: dict[str, str]
    may: set[Role]


FORMS = [
    Form("access/approvals", {"do": "rule", "needed": "1"}, {Role.ADMIN}),
    Form("access/approvals", {"do": "break", "reason": "why"}, {Role.EDITOR, Role.OPERATOR, Role.ADMIN}),
    Form("access/approvals", {"do": "review", "id": "999", "reason": "why"}, {Role.APPROVER, Role.ADMIN}),
    Form("access/approvals/999", {"do": "approve", "edition": "1"}, {Role.APPROVER, Role.ADMIN}),
    Form("access/approvals/999", {"do": "commit"}, EDITORS),
    Form("access/approvals/999", {"do": "rebase"}, EDITORS),
    Form("access/approvals/999", {"do": "withdraw"}, EDITORS),
    Form("access/tokens", {"name": "laptop", "lasts": "30"}, EVERYBODY),
    Form("access/people", {"email": "eve@example.com", "role": "viewer", "place": OWN}, {Role.ADMIN}),
    Form("access/people", {"email": "eva@example.com", "role": "viewer", "place": OTHER}, set()),
    Form("access/people", {"email": "evi@example.com", "role": "viewer", "place": "*"}, set()),
    Form("access/people/nobody", {"do": "grant", "role": "admin", "place": OWN}, {Role.ADMIN}),
    Form("access/people/nobody", {"do": "grant", "role": "admin", "place": OTHER}, set()),
    Form("access/people/nobody", {"do": "reset"}, set()),
    Form("access/people/nobody", {"do": "disable"}, set()),
    Form("access/keys", {"name": "service"}, {Role.ADMIN}),
    Form("access/keys/none", {"do": "revoke"}, {Role.ADMIN}),
    Form("save/flag", {"key": "f", "message": "m", "spec": "{}"}, EDITORS),
    Form("save/safe_mode_activation", {"key": "a", "message": "m", "spec": json.dumps(ACTIVATION)}, {Role.ADMIN}),
    Form("restore", {"target": "1", "message": "m"}, EDITORS),
    Form("safe-mode/activate", {"profile": "contain", "reason": "x", "confirm": OWN}, {Role.OPERATOR, Role.ADMIN}),
    Form("rollouts/none/move/pause", {"reason": "x"}, {Role.EDITOR, Role.OPERATOR, Role.ADMIN}),
]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


@pytest.fixture
async def callers(world: World) -> dict[Role, str | Browser]:
    """People by their browsers' sessions; SDKs have keys only."""
    made: dict[Role, str | Browser] = {role: await browser_of(world, role) for role in EVERYBODY}
    return {**made, Role.SDK: await bearer_of(world, Role.SDK)}


def pages(world: World) -> list[Door]:
    return [door for door in doors(world) if not door.is_api and isinstance(door.opt.get("action"), Action)]


async def denials(world: World) -> int:
    """The place of the latest in the audit log: it grows with each."""
    latest = await world.access.audit.list_events(ROOT, limit=1, event=Event.DENIED)
    return latest[0].sequence if latest else 0


async def test_what_a_page_declares_is_what_happens(world: World, callers: dict[Role, str | Browser]) -> None:
    wrong, found = [], pages(world)
    assert len(found) > 60
    for role, door in itertools.product(ROLES, found):
        allowed = door.opt["action"] in PERMISSIONS[role] and not (role is Role.SDK and door.path.startswith("/e/"))
        here = await knock(world, callers[role], door, OWN)
        if (here not in {401, 403}) != allowed or here >= 500:
            wrong.append(f"{door.method} {door.path} as {role}: {here}")
        if door.has_environment and await knock(world, callers[role], door, OTHER) != 403:
            wrong.append(f"{door.method} {door.path} as {role} in another environment")
    assert wrong == []


async def test_the_pages_that_matter_are_for_whom_they_should_be(world: World) -> None:
    declared = {door.path: door.opt["action"] for door in pages(world) if door.method == "GET"}
    for path, may in PAGES.items():
        assert {role for role in ROLES if declared[path] in PERMISSIONS[role]} == may, path


async def test_what_a_form_does_is_decided_by_who_sends_it(world: World, callers: dict[Role, str | Browser]) -> None:
    wrong = []
    for form, role, environment in itertools.product(FORMS, sorted(EVERYBODY), (OWN, OTHER)):
        before = await denials(world)
        door = Door("POST", f"/e/{environment}/{form.path}", "", {})
        answer = await knock(world, callers[role], door, environment, form.fields)
        refused = await denials(world) > before
        if refused == (role in form.may and environment == OWN) or answer >= 500:
            wrong.append(f"{form.path} {form.fields} as {role} in {environment}: {answer}")
    assert wrong == []


async def test_nobody_sees_a_page_without_signing_in(world: World) -> None:
    for door in pages(world):
        for stranger in ("", Browser("", "bo_ses_" + "0" * 49, "0" * 64)):
            answer = await knock(world, stranger, door, OWN)
            assert answer in ({303, 401} if door.method == "GET" else {401}), (door, answer)


async def test_no_form_is_taken_without_the_token_of_its_session(
    world: World, callers: dict[Role, str | Browser]
) -> None:
    admin, viewer = callers[Role.ADMIN], callers[Role.VIEWER]
    assert isinstance(admin, Browser)
    assert isinstance(viewer, Browser)
    forms = [door for door in doors(world) if not door.is_api and door.method == "POST" and not door.opt.get("public")]
    head = await world.services.store.head(OWN)
    for door, csrf in itertools.product(forms, ("", "0" * 64, viewer.csrf)):
        assert await knock(world, admin._replace(csrf=csrf), door, OWN) == 403, (door.path, csrf)
    assert await world.services.store.head(OWN) == head


async def test_services_refuse_by_themselves_when_the_door_of_a_page_stands_open(
    world: World, callers: dict[Role, str | Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard is the first of two locks; here it is broken."""
    monkeypatch.setattr(guard_module, "authorize", lambda *_: None)
    monkeypatch.setattr(guard_module, "allows", lambda *_: True)
    leaks = []
    for role, door in itertools.product(ROLES, pages(world)):
        if not door.has_environment or door.method != "GET":
            continue
        action, who = door.opt["action"], callers[role]
        if not door.path.endswith(SAYS_NOTHING) and await knock(world, who, door, OTHER) not in REFUSED:
            leaks.append(f"{door.path} of another environment as {role}")
        hidden = action in MORE_THAN_READING and action not in PERMISSIONS[role]
        if hidden and await knock(world, who, door, OWN) not in REFUSED:
            leaks.append(f"{door.path} without {action} as {role}")
    assert not leaks, "\n".join(leaks)
