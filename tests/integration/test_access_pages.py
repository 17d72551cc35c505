"""The console's doors: every page, form and stream, as every role, in the own environment and in another one."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from controlplane.access.actor import KEY_ROLES, PERMISSIONS, Action, Role
from controlplane.access.values import Event
from controlplane.http import guard as guard_module
from tests.integration.accessing import PASSWORD, ROOT, World, open_world
from tests.integration.doors import OTHER, OWN, ROLES, Browser, Door, bearer_of, browser_of, doors, knock

pytestmark = pytest.mark.anyio

EVERYBODY = {Role.VIEWER, Role.EDITOR, Role.OPERATOR, Role.APPROVER, Role.ADMIN}
EDITORS = {Role.EDITOR, Role.ADMIN}

PAGES = {
    # who sees what, in their own environment; decided by hand
    "/e/{environment:str}": EVERYBODY,
    "/e/{environment:str}/live": EVERYBODY,
    "/e/{environment:str}/fleet": EVERYBODY,
    "/e/{environment:str}/budgets": EVERYBODY,
    "/e/{environment:str}/history": EVERYBODY,
    "/e/{environment:str}/flags/{key:str}": EVERYBODY,
    "/e/{environment:str}/safe-mode": EVERYBODY,
    "/e/{environment:str}/coverage": EVERYBODY,
    "/e/{environment:str}/safe-mode/activate": {Role.OPERATOR, Role.ADMIN},
    "/e/{environment:str}/safe-mode/{key:str}/lift": {Role.OPERATOR, Role.ADMIN},
    "/e/{environment:str}/delete/{kind:str}/{key:str}": EDITORS,
    "/e/{environment:str}/restore/{revision:int}": EDITORS,
    "/e/{environment:str}/undo/{revision:int}": EDITORS,
    "/e/{environment:str}/rollouts/new": {Role.EDITOR, Role.OPERATOR, Role.ADMIN},
    "/e/{environment:str}/notifications": EVERYBODY,
    "/e/{environment:str}/notifications/channels": EVERYBODY,
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
    Form("notifications", {"id": "999"}, EVERYBODY),  # there is no such event; who may acknowledge: test_notify_api.py
    Form("notifications/channels", {"do": "team", "key": "sre", "name": "SRE"}, set()),
    Form("notifications/channels", {"do": "pause", "key": "ops", "reason": "x"}, set()),
    Form("save/flag", {"key": "f", "message": "m", "spec": "{}"}, EDITORS),
    Form("save/safe_mode_activation", {"key": "a", "message": "m", "spec": json.dumps(ACTIVATION)}, {Role.ADMIN}),
    Form("restore", {"target": "1", "message": "m"}, EDITORS),
    Form("safe-mode/activate", {"profile": "contain", "reason": "x", "confirm": OWN}, {Role.OPERATOR, Role.ADMIN}),
    Form("coverage/patterns", {"class": "none", "pattern": "none"}, EDITORS),
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
    return {**made, **{role: await bearer_of(world, role) for role in KEY_ROLES}}


def pages(world: World) -> list[Door]:
    return [door for door in doors(world) if not door.is_api and isinstance(door.opt.get("action"), Action)]


async def denials(world: World) -> int:
    """The place of the latest in the audit log: it grows with each, once what was only counted is written."""
    await world.access.audit.write_counted(every=True)
    latest = await world.access.audit.list_events(ROOT, limit=1, event=Event.DENIED)
    return latest[0].sequence if latest else 0


async def test_what_a_page_declares_is_what_happens(world: World, callers: dict[Role, str | Browser]) -> None:
    wrong, found = [], pages(world)
    assert len(found) > 60
    for role, door in itertools.product(ROLES, found):
        allowed = door.opt["action"] in PERMISSIONS[role] and not (role in KEY_ROLES and door.path.startswith("/e/"))
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


@pytest.mark.parametrize("path", ["/api/v1/environments/production/fleet/events", "/e/production/live"])
async def test_a_stream_ends_with_the_right_to_watch_it(world: World, path: str) -> None:
    viewer = await world.person("eve@example.com", {OWN: ["viewer"]})
    own = await world.access.tokens.create_personal(viewer, "laptop")
    robot = await world.access.tokens.create_service(ROOT, "robot", {OWN: ["viewer"]})
    kept = await world.access.tokens.create_service(ROOT, "kept", {OWN: ["viewer"]})
    streams = [await Watching.begin(world, path, token.token) for token in (own, robot, kept)]
    await world.access.people.revoke(ROOT, viewer.person, OWN, "viewer")
    await world.access.tokens.revoke(ROOT, robot.id)
    async with asyncio.timeout(10):
        await asyncio.gather(*(each.task for each in streams[:2]))
    assert not streams[2].task.done()
    await streams[2].end()


class Watching(NamedTuple):
    """Somebody with an event stream open; `task` ends when the stream does."""

    task: asyncio.Task[None]

    @classmethod
    async def begin(cls, world: World, path: str, token: str) -> "Watching":
        """Raises when the first bytes are not those of a stream."""
        begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        headers = [(b"host", b"brownout.example"), (b"authorization", f"Bearer {token}".encode())]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "https",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
            "client": ("198.51.100.7", 4711), "server": ("brownout.example", 443), "state": {},
        }  # fmt: skip
        asked, ended = iter([{"type": "http.request", "body": b"", "more_body": False}]), asyncio.Event()

        async def receive() -> Any:
            if (message := next(asked, None)) is not None:
                return message
            await ended.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                begun.set_result(message["status"])
            elif not message.get("more_body"):
                ended.set()

        task: asyncio.Task[None] = asyncio.ensure_future(world.app(scope, receive, send))  # type: ignore[arg-type]
        assert await asyncio.wait_for(begun, 10) == 200
        return cls(task)

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def test_no_field_of_any_form_breaks_us(world: World, callers: dict[Role, str | Browser]) -> None:
    wrong = []
    texts = ("\0", "²", "9" * 30, "x" * 20_000, "{")
    for form in FORMS:
        path = Door("POST", f"/e/{OWN}/{form.path}", "", {})
        for field, text in itertools.product(form.fields, texts):
            if field == "do":
                continue
            answer = await knock(world, callers[Role.ADMIN], path, OWN, {**form.fields, field: text})
            if answer >= 500:
                wrong.append(f"{form.path} {field}={text[:9]!r}: {answer}")
    for path, field, text in itertools.product(
        ("/sign-in", "/welcome", "/welcome/form"), ("email", "password", "next", "link", "name"), texts
    ):
        fields = {"email": "admin@example.com", "password": PASSWORD, "link": "x", field: text}
        answer = await knock(world, Browser("", "", ""), Door("POST", path, "", {}), OWN, fields)
        if answer >= 500:
            wrong.append(f"{path} {field}={text[:9]!r}: {answer}")
    assert not wrong, "\n".join(wrong)


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
