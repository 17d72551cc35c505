"""SDK keys and API tokens."""

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from controlplane.access.actor import Action, Actor
from controlplane.access.api_tokens import NewToken
from controlplane.access.keys import NewKey
from controlplane.access.signing import Rotation
from controlplane.contract.access import (
    KeyInput,
    KeyList,
    KeyOutput,
    RotateInput,
    ServiceTokenInput,
    SigningRotationInput,
    TokenInput,
    TokenList,
    TokenOutput,
)
from controlplane.http.parameters import duration
from controlplane.services import Services


class SdkKeyController(Controller):
    path = "/api/v1/environments/{environment:str}/sdk-keys"
    tags = ("keys",)

    @get("/", operation_id="list_sdk_keys", opt={"action": Action.MANAGE_KEYS})
    async def list_keys(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> KeyList:
        """The environment's keys, without their secrets."""
        return KeyList(await services.access.keys.list_keys(actor, environment))

    @post("/", operation_id="create_sdk_key", opt={"action": Action.MANAGE_KEYS})
    async def create(
        self,
        environment: FromPath[str],
        data: JSONBody[KeyInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> KeyOutput:
        """A key that reads this environment, reports to it, or both."""
        made = await services.access.keys.create(
            actor, environment, data.name, expires_at=data.expires_at, uses=data.uses
        )
        return _key(made)

    @post("/{key:str}/rotate", operation_id="rotate_sdk_key", opt={"action": Action.MANAGE_KEYS})
    async def rotate(
        self,
        environment: FromPath[str],
        key: FromPath[str],
        data: JSONBody[RotateInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> KeyOutput:
        """A new key of the same name; the old one ends when the overlap is over."""
        overlap = duration(data.overlap_s)
        return _key(await services.access.keys.rotate(actor, environment, key, overlap=overlap))

    @delete("/{key:str}", operation_id="revoke_sdk_key", opt={"action": Action.MANAGE_KEYS}, status_code=204)
    async def revoke(
        self,
        environment: FromPath[str],
        key: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        reason: FromQuery[str] = "",
    ) -> None:
        """Revokes the key. Connections with it end within a second."""
        await services.access.keys.revoke(actor, environment, key, reason[:500])


class SigningKeyController(Controller):
    path = "/api/v1/environments/{environment:str}/signing-key"
    tags = ("keys",)

    @post("/rotate", operation_id="rotate_signing_key", status_code=200, opt={"action": Action.MANAGE_KEYS})
    async def rotate(
        self,
        environment: FromPath[str],
        data: JSONBody[SigningRotationInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> Rotation:
        """Announces the next signing key; it signs once every SDK has had time to learn it."""
        return await services.access.signing.announce(actor, environment, duration(data.overlap_s))


class TokenController(Controller):
    path = "/api/v1/tokens"
    tags = ("keys",)

    @get("/", operation_id="list_tokens", opt={"signed_in": True})
    async def list_tokens(
        self, services: NamedDependency[Services], actor: NamedDependency[Actor], everybody: FromQuery[bool] = False
    ) -> TokenList:
        """Yours and those of your machines; with `everybody` all whose scope lies within what you administer."""
        return TokenList(await services.access.tokens.list_tokens(actor, everybody=everybody))

    @post("/", operation_id="create_token", opt={"signed_in": True, "fresh": True})
    async def create(
        self, data: JSONBody[TokenInput], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> TokenOutput:
        """A personal token: never more than you may do yourself."""
        lasts = None if data.lasts_s is None else duration(data.lasts_s)
        made = await services.access.tokens.create_personal(
            actor, data.name, scope=data.scope, lasts=lasts, sensitive=data.sensitive, networks=data.networks
        )
        return _token(made)

    @post("/service", operation_id="create_service_token", opt={"action": Action.MANAGE_KEYS})
    async def create_service(
        self, data: JSONBody[ServiceTokenInput], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> TokenOutput:
        """A token for a machine. It never does more than you may, and ends with your account unless another person takes it over."""
        lasts = None if data.lasts_s is None else duration(data.lasts_s)
        made = await services.access.tokens.create_service(
            actor, data.name, data.grants, lasts=lasts, sensitive=data.sensitive, networks=data.networks
        )
        return _token(made)

    @delete("/{token:str}", operation_id="revoke_token", opt={"signed_in": True, "fresh": True}, status_code=204)
    async def revoke(
        self,
        token: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        reason: FromQuery[str] = "",
    ) -> None:
        """Ends one of yours, or one whose scope lies within what you administer; and what was made with it."""
        await services.access.tokens.revoke(actor, token, reason[:500])


def _key(made: NewKey) -> KeyOutput:
    return KeyOutput(made.id, made.environment, made.name, made.key, made.expires_at, made.uses)


def _token(made: NewToken) -> TokenOutput:
    return TokenOutput(made.id, made.name, made.token, made.expires_at)
