"""Every route, every role, the own environment and another one: what is declared is what happens."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest
import typer
from litestar.routes import HTTPRoute

from controlplane.access.actor import PERMISSIONS, Action, Role
from controlplane.api import guard as guard_module
from controlplane.cli import app as cli
from controlplane.cli.verb import ACTIONS
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio

OWN, OTHER = "production", "staging"
ROLES = tuple(Role)
FILLERS = {"str": "nothing-here", "int": "999", "float": "1", "uuid": "0" * 32, "path": "nothing-here"}
LOCAL_VERBS = {
    f"brownout {name}"
    for name in (
        "up",
        "serve",
        "migrate",
        "authd",
        "nats-config",
        "nats-cluster",
        "setup-link",
        "login",
        "logout",
        "watch",
    )
}
"""They start something, or act before anybody is somebody; `watch` is an SDK."""

MATTERS = {
    # operation: who may, in their own environment (nobody may in another one)
    "commit": {Role.EDITOR, Role.ADMIN},
    "propose": {Role.EDITOR, Role.ADMIN},
    "approve_proposal": {Role.APPROVER, Role.ADMIN},
    "commit_proposal": {Role.EDITOR, Role.ADMIN},
    "activate_safe_mode": {Role.OPERATOR, Role.ADMIN},
    "lift_safe_mode": {Role.OPERATOR, Role.ADMIN},
    "extend_safe_mode": {Role.OPERATOR, Role.ADMIN},
    "break_glass": {Role.EDITOR, Role.OPERATOR, Role.ADMIN},
    "review_break_glass": {Role.APPROVER, Role.ADMIN},
    "set_rule": {Role.ADMIN},
    "create_sdk_key": {Role.ADMIN},
    "rotate_sdk_key": {Role.ADMIN},
    "revoke_sdk_key": {Role.ADMIN},
    "rotate_signing_key": {Role.ADMIN},
    "export": {Role.EDITOR, Role.OPERATOR, Role.APPROVER, Role.ADMIN},
    "import": {Role.EDITOR, Role.ADMIN},
    "restore": {Role.EDITOR, Role.ADMIN},
    "get_state": {Role.VIEWER, Role.EDITOR, Role.OPERATOR, Role.APPROVER, Role.ADMIN},
    "list_history": {Role.VIEWER, Role.EDITOR, Role.OPERATOR, Role.APPROVER, Role.ADMIN},
    "invite_person": {Role.ADMIN},
    "grant_role": {Role.ADMIN},
    "disable_person": {Role.ADMIN},
    "list_audit": {Role.APPROVER, Role.ADMIN},
    "export_audit": {Role.APPROVER, Role.ADMIN},
    "create_service_token": {Role.ADMIN},
    "create_environment": {Role.ADMIN},
}


class Door(NamedTuple):
    method: str
    path: str
    operation: str
    opt: dict[str, Any]

    def at(self, environment: str) -> str:
        parts = [self._fill(part, environment) for part in self.path.split("/")]
        return "/".join(parts)

    @staticmethod
    def _fill(part: str, environment: str) -> str:
        if not part.startswith("{"):
            return part
        name, _, kind = part.strip("{}").partition(":")
        return environment if name == "environment" else FILLERS[kind or "str"]

    @property
    def is_api(self) -> bool:
        return self.path.startswith("/api/")

    @property
    def has_environment(self) -> bool:
        return "{environment" in self.path


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


def doors(world: World) -> Iterator[Door]:
    for route in world.app.routes:
        if not isinstance(route, HTTPRoute) or route.path in {"/api", "/api/openapi.json", "/api/{path:str}"}:
            continue
        for handler in route.route_handlers:
            for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                yield Door(method, route.path, str(handler.operation_id or ""), dict(handler.opt))


async def bearer_of(world: World, role: Role, where: str = OWN) -> str:
    name = f"{role} in {where}"
    if name not in world.tokens:
        key = role is Role.SDK
        made = (
            (await world.access.keys.create(ROOT, OWN, name)).key if key else await world.token({where: [role]}, name)
        )
        world.tokens[name] = made
    return world.tokens[name]


async def knock(world: World, token: str, door: Door, environment: str) -> int:
    """The status of the answer, as soon as there is one: event streams never end."""
    body = b"{}" if door.method in {"POST", "PUT", "PATCH"} else b""
    headers = [(b"host", b"brownout.example"), (b"content-type", b"application/json")]
    if token:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    path = door.at(environment)
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": door.method, "scheme": "https",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": ("198.51.100.7", 4711), "server": ("brownout.example", 443), "state": {},
    }  # fmt: skip
    status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    sent = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        message = next(sent, None)
        return message or await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and not status.done():
            status.set_result(message["status"])

    answering = asyncio.create_task(world.app(scope, receive, send))  # type: ignore[arg-type]
    try:
        await asyncio.wait([status, answering], return_when=asyncio.FIRST_COMPLETED)
        return status.result() if status.done() else 500
    finally:
        answering.cancel()
        await asyncio.wait([answering])


async def test_every_route_declares_exactly_one_permission(world: World) -> None:
    undeclared = [
        f"{door.method} {door.path}"
        for door in doors(world)
        if sum([door.opt.get("public") is True, door.opt.get("signed_in") is True, "action" in door.opt]) != 1
    ]
    assert undeclared == []
    assert len(list(doors(world))) > 60


def test_every_verb_declares_its_permission_or_stands_among_the_local_ones() -> None:
    found = {name for name, _ in verbs(cli)}
    assert found - set(ACTIONS) - LOCAL_VERBS == set()
    assert found >= LOCAL_VERBS
    assert all(isinstance(action, Action) for action in ACTIONS.values())


def verbs(app: typer.Typer, prefix: str = "brownout ") -> Iterator[tuple[str, Any]]:
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "").strip("_")
        yield f"{prefix}{name}", command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from verbs(group.typer_instance, f"{group.typer_instance.info.name} ")


async def test_what_is_declared_is_what_happens(world: World) -> None:
    wrong = []
    for role, door in itertools.product(ROLES, doors(world)):
        action = door.opt.get("action")
        token = await bearer_of(world, role, OWN if door.has_environment else "*")
        if action is None or not door.is_api:
            continue  # the console's pages stand behind the same guard, and have journeys of their own
        allowed = action in PERMISSIONS[role]
        here = await knock(world, token, door, OWN)
        if (here not in {401, 403}) != allowed:
            wrong.append(f"{door.method} {door.path} as {role}: {here}")
        if door.has_environment and await knock(world, token, door, OTHER) not in {403, 404}:
            wrong.append(f"{door.method} {door.path} as {role} in another environment")
    assert wrong == []


async def test_nobody_gets_through_any_door_that_is_not_public(world: World) -> None:
    forged = (await world.token({"*": ["admin"]}))[:-1] + "x"
    for token in ("", "nonsense", forged):
        for door in doors(world):
            if door.is_api and not door.opt.get("public"):
                assert await knock(world, token, door, OWN) in {401, 429}, (token, door)


async def test_the_declarations_say_what_matters(world: World) -> None:
    by_operation = {door.operation: door for door in doors(world)}
    for operation, may in MATTERS.items():
        door = by_operation[operation]
        action = door.opt["action"]
        assert {role for role in ROLES if action in PERMISSIONS[role]} == may, operation


async def test_services_refuse_reads_by_themselves_when_the_door_stands_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard is the first of two locks; here it is broken."""
    monkeypatch.setattr(guard_module, "authorize", lambda *_: None)
    monkeypatch.setattr(guard_module, "allows", lambda *_: True)
    leaks = []
    for role, door in itertools.product(ROLES, doors(world)):
        token, action = await bearer_of(world, role), door.opt.get("action")
        if action is None or door.method != "GET" or not (door.has_environment and door.is_api):
            continue
        if door.path.endswith("/events"):
            continue  # a stream has begun before its service refuses: it ends without an event
        if await knock(world, token, door, OTHER) not in {400, 403, 404, 422}:
            leaks.append(f"{door.path} of another environment as {role}")
        if action not in PERMISSIONS[role] and await knock(world, token, door, OWN) not in {400, 403, 404, 422}:
            leaks.append(f"{door.path} without {action} as {role}")
    assert leaks == []
