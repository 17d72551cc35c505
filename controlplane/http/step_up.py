"""A proof that comes along with what it is for: a form that was refused is sent again with one field more."""

from typing import Any

import msgspec
from litestar.connection import ASGIConnection

from controlplane.access.actor import Actor
from controlplane.access.csrf import SAFE_METHODS
from controlplane.access.proofs import Proof
from controlplane.errors import InvalidInputError, RateLimitedError, StepUpRequiredError
from controlplane.http.cookies import Cookies
from controlplane.http.forms import read_form
from controlplane.services import Services

Connection = ASGIConnection[Any, Any, Any, Any]

PASSWORD, CODE, PASSKEY = "proof_password", "proof_code", "proof_passkey"
PROOF_FIELDS = frozenset({PASSWORD, CODE, PASSKEY})
UNFINISHED = {
    "factor": "show your second factor first",
    "enrol": "your role needs a second factor: set one up in your account first",
}
_FORM = "application/x-www-form-urlencoded"
FIELDS = "form_fields"
"""Where a request keeps them, for who asks again."""


async def form_of(connection: Connection) -> list[tuple[str, str]]:
    """The fields of a form, in order; none of anything else."""
    if FIELDS not in connection.state:
        connection.state[FIELDS] = []
        if connection.headers.get("content-type", "").startswith((_FORM, "multipart/form-data")):
            request = connection.app.request_class(connection.scope, connection.receive)
            connection.state[FIELDS] = await read_form(request)
    found: list[tuple[str, str]] = connection.state[FIELDS]
    return found


async def proven(connection: Connection, services: Services, actor: Actor) -> Actor:
    """The actor, whose proof need not be fresh to read, or is when the form holds one.

    Raises:
        StepUpRequiredError: the form holds a proof that is wrong.
    """
    if not actor.stale or connection.scope.get("method") in SAFE_METHODS:
        return msgspec.structs.replace(actor, stale=False)
    if actor.kind != "person":
        return actor
    fields = dict(await form_of(connection))
    proof = proof_of(connection, services, fields)
    if not proof:
        return actor
    try:
        await services.access.prover.prove(actor, proof)
    except (InvalidInputError, RateLimitedError) as error:
        raise StepUpRequiredError(error.message, actor.proofs) from error
    return msgspec.structs.replace(actor, stale=False)


def proof_of(connection: Connection, services: Services, fields: dict[str, str]) -> Proof:
    """What a page of ours sends to prove who its reader is."""
    passkey = None
    if text := fields.get(PASSKEY):
        try:
            passkey = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.MsgspecError:
            passkey = {}
    ceremony = ceremony_of(connection, services)
    return Proof(fields.get(PASSWORD, ""), fields.get(CODE, "").strip(), passkey, ceremony)


def ceremony_of(connection: Connection, services: Services) -> str:
    """The cookie of the ceremony that was begun in this browser."""
    return connection.cookies.get(Cookies(services.settings.url).ceremony, "")
