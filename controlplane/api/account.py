"""Your own second factors."""

from typing import Any

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from controlplane.access.actor import Actor
from controlplane.access.factors import FactorsInfo, RecoveryCodes, TotpKey
from controlplane.api.second_factor import options_of
from controlplane.contract.access import CodeInput, NameInput, NewPasskeyInput, PasskeyOptions
from controlplane.http.step_up import ceremony_of
from controlplane.services import Services

OWN = {"signed_in": True, "unfinished": ("enrol",)}
CHANGING = {**OWN, "fresh": True}


class AccountController(Controller):
    path = "/api/v1/account"
    tags = ("session",)

    @get("/second-factors", operation_id="get_second_factors", opt=OWN)
    async def show(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> FactorsInfo:
        """What you have set up."""
        return await services.access.factors.info(actor)

    @post("/app", operation_id="begin_authenticator_app", opt=CHANGING)
    async def begin_app(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> TotpKey:
        """A key for an authenticator app; it counts once you have confirmed it with a code."""
        return await services.access.factors.begin_app(actor)

    @post("/app/confirm", operation_id="confirm_authenticator_app", opt=CHANGING, status_code=200)
    async def confirm_app(
        self, data: JSONBody[CodeInput], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> RecoveryCodes:
        """With your first second factor come recovery codes, shown once."""
        return await services.access.factors.confirm_app(actor, data.code)

    @delete("/app", operation_id="remove_authenticator_app", opt=CHANGING, status_code=204)
    async def remove_app(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> None:
        """Its codes stop working at once."""
        await services.access.factors.remove_app(actor)

    @post("/recovery-codes", operation_id="make_recovery_codes", opt=CHANGING)
    async def recovery_codes(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> RecoveryCodes:
        """Ten new ones; those of before stop working."""
        return await services.access.factors.new_recovery_codes(actor)

    @post("/passkeys/begin", operation_id="begin_passkey", opt=CHANGING, status_code=200)
    async def begin_passkey(
        self, services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> Response[PasskeyOptions]:
        """What a browser needs to make a passkey."""
        passkeys = services.access.passkeys
        return options_of(services, await passkeys.begin_registration(actor.credential, actor.person, actor.name))

    @post("/passkeys", operation_id="add_passkey", opt=CHANGING)
    async def add_passkey(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[NewPasskeyInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> RecoveryCodes:
        """Registers what the browser has made."""
        ceremony = ceremony_of(request, services)
        return await services.access.factors.add_passkey(actor, ceremony, data.passkey, data.name)

    @patch("/passkeys/{passkey:str}", operation_id="rename_passkey", opt=OWN, status_code=204)
    async def rename_passkey(
        self,
        passkey: FromPath[str],
        data: JSONBody[NameInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> None:
        """Gives it another name."""
        await services.access.factors.rename_passkey(actor, passkey, data.name)

    @delete("/passkeys/{passkey:str}", operation_id="remove_passkey", opt=CHANGING, status_code=204)
    async def remove_passkey(
        self, passkey: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> None:
        """It opens nothing any more."""
        await services.access.factors.remove_passkey(actor, passkey)
