"""Every route of the control plane, and a way to knock at it as anybody."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from litestar.routes import HTTPRoute

from controlplane.access.actor import KEY_ROLES, Role
from controlplane.access.sessions import Origin
from controlplane.access.traffic import ALL_USES, KeyUse
from tests.integration.accessing import PASSWORD, ROOT, World

OWN, OTHER = "production", "staging"
ROLES = tuple(Role)
FILLERS = {"str": "nothing-here", "int": "999", "float": "1", "uuid": "0" * 32, "path": "nothing-here"}


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
        if role in KEY_ROLES:
            uses = ALL_USES if role is Role.SDK else (KeyUse(role.removeprefix("sdk_")),)
            made = (await world.access.keys.create(ROOT, OWN, name, uses=uses)).key
        else:
            made = await world.token({where: [role]}, name)
        world.tokens[name] = made
    return world.tokens[name]


class Browser(NamedTuple):
    """Somebody signed in: their session's cookie, and what a page of theirs would send along."""

    person: str
    cookie: str
    csrf: str


async def browser_of(world: World, role: Role) -> Browser:
    """A person who holds `role` in OWN and nothing elsewhere."""
    email = f"{role}@example.com"
    await world.person(email, {OWN: [role]})
    signed_in = await world.access.sign_in.with_password(email, PASSWORD, Origin("198.51.100.7"))
    return Browser(signed_in.person, signed_in.secret, world.access.csrf.token(signed_in.session))


async def knock(
    world: World,
    who: str | Browser,
    door: Door,
    environment: str,
    form: Mapping[str, str] | None = None,
) -> int:
    """The status of the answer, as soon as there is one: event streams never end. `who`: a token, or a browser."""
    headers = [(b"host", b"brownout.example")]
    body = b""
    if isinstance(who, Browser):
        headers += [
            (b"cookie", f"__Host-brownout-session={who.cookie}".encode()),
            (b"sec-fetch-site", b"same-origin"),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ]
        body = urlencode({"csrf": who.csrf, **(form or {})}).encode() if door.method == "POST" else b""
    else:
        headers += [(b"content-type", b"application/json")]
        headers += [(b"authorization", f"Bearer {who}".encode())] if who else []
        body = b"{}" if door.method in {"POST", "PUT", "PATCH"} else b""
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
