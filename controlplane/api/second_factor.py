"""Signing in with a second factor or a passkey, and proving once more who you are."""

from typing import Any

from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from controlplane.access.actor import Actor
from controlplane.access.passkeys import LASTS, Ceremony
from controlplane.access.proofs import Proof
from controlplane.api.session import enter
from controlplane.contract.access import PasskeyInput, PasskeyOptions, ProofInput, WhoAmI
from controlplane.http.cookies import Cookies
from controlplane.http.guard import check_origin, origin_of
from controlplane.http.step_up import ceremony_of
from controlplane.services import Services

UNPROVEN = {"signed_in": True, "unfinished": ("factor", "enrol")}


class SecondFactorController(Controller):
    path = "/api/v1/session"
    tags = ("session",)

    @post("/second-factor", operation_id="show_second_factor", opt={"signed_in": True, "unfinished": ("factor",)})
    async def show(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[ProofInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> Response[WhoAmI]:
        """Completes a sign-in whose answer had the stage `factor`."""
        origin = origin_of(request, services)
        proof = Proof("", data.code, data.passkey, ceremony_of(request, services))
        return await enter(services, await services.access.sign_in.with_second_factor(actor, proof, origin))

    @post("/proof", operation_id="prove", opt={"signed_in": True, "unfinished": ("enrol",)}, status_code=204)
    async def prove(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[ProofInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> None:
        """After it, what is refused with `step_up_required` is open to this session or personal token for a while."""
        proof = Proof(data.password, data.code, data.passkey, ceremony_of(request, services))
        await services.access.prover.prove(actor, proof)

    @post("/proof/begin", operation_id="begin_proof", opt=UNPROVEN, status_code=200)
    async def begin_proof(
        self, services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> Response[PasskeyOptions]:
        """What a browser needs to ask for one of your passkeys."""
        ceremony = await services.access.passkeys.begin("prove", actor.credential, actor.person)
        return options_of(services, ceremony)

    @post("/passkey/begin", operation_id="begin_passkey_sign_in", opt={"public": True}, security=[], status_code=200)
    async def begin_passkey(
        self, request: Request[Any, Any, Any], services: NamedDependency[Services]
    ) -> Response[PasskeyOptions]:
        """Options for the browser to ask for the passkey of the person who signs in."""
        check_origin(request, services)
        return options_of(services, await services.access.passkeys.begin("sign_in", ""))

    @post("/passkey", operation_id="sign_in_with_passkey", opt={"public": True}, security=[])
    async def with_passkey(
        self, request: Request[Any, Any, Any], data: JSONBody[PasskeyInput], services: NamedDependency[Services]
    ) -> Response[WhoAmI]:
        """Opens a session, in a cookie."""
        check_origin(request, services)
        ceremony, origin = ceremony_of(request, services), origin_of(request, services)
        return await enter(services, await services.access.sign_in.with_passkey(ceremony, data.passkey, origin))


def options_of(services: Services, ceremony: Ceremony) -> Response[PasskeyOptions]:
    lasts_s = int(LASTS.total_seconds())
    cookie = Cookies(services.settings.url).passkey_ceremony(ceremony.sealed, lasts_s)
    return Response(PasskeyOptions(ceremony.options), cookies=[cookie])
