"""Every route, every role, the own environment and another one: what is declared is what happens."""

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from controlplane.access.actor import PERMISSIONS, Action, Role
from controlplane.cli import app as cli
from controlplane.cli.verb import ACTIONS
from controlplane.http import guard as guard_module
from tests.integration.accessing import World, open_world
from tests.integration.doors import OTHER, OWN, ROLES, bearer_of, doors, knock

pytestmark = pytest.mark.anyio

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
        "sidecar",
        "completion",
    )
} | {"secret status", "secret rotate", "address clear"}
"""They start something, or act before anybody is somebody; `watch` and `sidecar` are SDKs."""

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
    "change_environment": {Role.ADMIN},
}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


async def test_every_route_declares_exactly_one_permission(world: World) -> None:
    undeclared = [
        f"{door.method} {door.path}"
        for door in doors(world)
        if sum([door.opt.get("public") is True, door.opt.get("signed_in") is True, "action" in door.opt]) != 1
    ]
    assert undeclared == []
    assert len(list(doors(world))) > 60


def test_every_verb_declares_its_permission_or_stands_among_the_local_ones() -> None:
    found = set(verbs(cli))
    assert found - set(ACTIONS) - LOCAL_VERBS == set()
    assert found >= LOCAL_VERBS
    assert all(isinstance(action, Action) for action in ACTIONS.values())


def verbs(command: Any, prefix: str = "brownout ") -> Iterator[str]:
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from verbs(inner, f"{name} ")
        else:
            yield f"{prefix}{name}"


async def test_what_is_declared_is_what_happens(world: World) -> None:
    wrong = []
    for role, door in itertools.product(ROLES, doors(world)):
        action = door.opt.get("action")
        token = await bearer_of(world, role, OWN if door.has_environment else "*")
        if action is None or not door.is_api:
            continue  # the console's pages: test_access_pages.py
        allowed = action in PERMISSIONS[role]
        here = await knock(world, token, door, OWN)
        if (here not in {401, 403}) != allowed:
            wrong.append(f"{door.method} {door.path} as {role}: {here}")
        if door.has_environment and await knock(world, token, door, OTHER) not in {403, 404}:
            wrong.append(f"{door.method} {door.path} as {role} in another environment")
    assert wrong == []


async def test_nobody_gets_through_any_door_that_is_not_public(world: World) -> None:
    token = await world.token({"*": ["admin"]})
    forged = token[:-1] + ("x" if token[-1] != "x" else "y")
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
        if await knock(world, token, door, OTHER) not in {400, 403, 404, 422}:
            leaks.append(f"{door.path} of another environment as {role}")
        if action not in PERMISSIONS[role] and await knock(world, token, door, OWN) not in {400, 403, 404, 422}:
            leaks.append(f"{door.path} without {action} as {role}")
    assert leaks == []
