"""Hands out operator passes with ordinary answers, while the database vouches for who asks: at sign-in, and renewed on use.

A browser gets a cookie. A command line that shows a pass, or asks for one by showing none, gets a header.
"""

from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.types import Message, Scope

from controlplane.access.actor import Actor
from controlplane.access.passes import LASTS
from controlplane.http.cookies import Cookies
from controlplane.http.guard import ACTOR, BY_PASS, PASS_HEADER
from controlplane.services import Services


class RenewPass:
    """`before_send`: adds a pass for anyone who may switch safe mode and has none, or an old one."""

    async def __call__(self, message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        state = scope.get("state", {})
        actor = state.get(ACTOR)
        if not isinstance(actor, Actor) or state.get(BY_PASS) or actor.stage:
            return
        services: Services = scope["litestar_app"].state.services
        cookies = Cookies(services.settings.url)
        shown = Headers.from_scope(scope).get(PASS_HEADER)
        browser = actor.kind == "person" and shown is None
        if not browser and shown is None:
            return
        present = cookies.pass_of(_cookies(scope)) if browser else shown or ""
        passes = services.access.passes
        if not passes.is_due(present) or (text := passes.issue(actor)) is None:
            return
        headers = MutableScopeHeaders.from_message(message)
        if browser:
            cookie = cookies.with_pass(text, int(LASTS.total_seconds()))
            headers.add("Set-Cookie", cookie.to_header(header=""))
        else:
            headers[PASS_HEADER] = text


def _cookies(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in (Headers.from_scope(scope).get("cookie") or "").split(";"):
        name, separator, value = part.strip().partition("=")
        if separator:
            found[name] = value
    return found
