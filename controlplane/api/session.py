"""Signing in and out, by JSON. The console's pages use the same services."""

from typing import Any

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from controlplane.access.actor import Actor
from controlplane.access.grants import plain
from controlplane.access.sessions import SignedIn
from controlplane.contract.access import LinkInput, PasswordInput, SignInInput, WhoAmI
from controlplane.http.cookies import Cookies
from controlplane.http.guard import check_origin, origin_of
from controlplane.services import Services


class SessionController(Controller):
    path = "/api/v1/session"
    tags = ("session",)

    @get("/", operation_id="who_am_i", opt={"signed_in": True, "unfinished": ("factor", "enrol")})
    async def who_am_i(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> WhoAmI:
        """Who you are, what you may do where, and the token that a browser's forms carry."""
        return _who(services, actor)

    @post("/", operation_id="sign_in", opt={"public": True}, security=[])
    async def sign_in(
        self, request: Request[Any, Any, Any], data: JSONBody[SignInInput], services: NamedDependency[Services]
    ) -> Response[WhoAmI]:
        """Opens a session, in a cookie; with the stage `factor` it opens nothing until the second factor is shown."""
        check_origin(request, services)
        return await enter(
            services,
            await services.access.sign_in.with_password(data.email, data.password, origin_of(request, services)),
        )

    @post("/link", operation_id="use_link", opt={"public": True}, security=[])
    async def use_link(
        self, request: Request[Any, Any, Any], data: JSONBody[LinkInput], services: NamedDependency[Services]
    ) -> Response[WhoAmI]:
        """Sets a password by a one-time link (setup, invitation, reset) and opens a session."""
        check_origin(request, services)
        signed_in = await services.access.sign_in.with_link(
            data.link, data.password, origin_of(request, services), email=data.email, name=data.name
        )
        return await enter(services, signed_in)

    @post("/password", operation_id="change_password", opt={"signed_in": True}, status_code=204)
    async def change_password(
        self, data: JSONBody[PasswordInput], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> None:
        """Replaces your password; ends your other sessions and, unless you keep them, your personal tokens."""
        await services.access.sign_in.change_password(actor, data.old, data.new, keep_tokens=data.keep_tokens)

    @delete("/", operation_id="sign_out", opt={"signed_in": True, "unfinished": ("factor", "enrol")}, status_code=204)
    async def sign_out(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> Response[None]:
        """Ends this session; with a token it does nothing."""
        if actor.kind == "person":
            await services.access.sessions.end(actor, actor.credential)
        return Response(None, status_code=204, cookies=Cookies(services.settings.url).signed_out())


async def enter(services: Services, signed_in: SignedIn) -> Response[WhoAmI]:
    """The answer to a sign-in: who it is, and the cookies."""
    actor = await services.access.authenticator.by_session(signed_in.secret, "")
    assert actor is not None
    return Response(_who(services, actor), cookies=Cookies(services.settings.url).signed_in(signed_in))


def _who(services: Services, actor: Actor) -> WhoAmI:
    token = services.access.csrf.token(actor.credential) if actor.kind == "person" else ""
    return WhoAmI(actor.kind, actor.name, actor.person, plain(actor.grants), token, actor.stage, actor.proofs)
