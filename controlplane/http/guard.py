"""The door of every route: who is it, may they, are they too fast. A route that declares nothing lets nobody in.

Services authorise again, precisely; this is the first of two locks, and what makes the declaration true.
"""

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope

from controlplane.access.actor import Action, Actor, allows, authorize, require_fresh
from controlplane.access.csrf import FIELD, HEADER, SAFE_METHODS
from controlplane.access.passes import as_operator
from controlplane.access.repeats import Bound
from controlplane.access.sessions import Origin
from controlplane.access.values import Event
from controlplane.errors import ForbiddenError, SecondFactorRequiredError, UnauthenticatedError, UnavailableError
from controlplane.http.cookies import Cookies
from controlplane.http.step_up import UNFINISHED, form_of, proven
from controlplane.kit.addresses import client_address
from controlplane.kit.tasks import give_up_after
from controlplane.services import Services

Connection = ASGIConnection[Any, Any, Any, Any]
T = TypeVar("T")

PASS_HEADER = "Brownout-Pass"  # noqa: S105 - the name of a header
AUTHENTICATE_S = 0.3
"""How long Postgres may take to say who asks for what can be done without it."""

_OPENAPI = "/api"
ACTOR = "actor"
BY_PASS = "by_pass"  # noqa: S105 - a key of the state
MAX_DENIALS = 10
"""Kinds of denial that one principal has listed in a minute; further ones are counted together."""


async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
    """Raises UnauthenticatedError, ForbiddenError or RateLimitedError."""
    services: Services = connection.app.state.services
    opt = handler.opt
    if not opt.get("probe"):  # a load balancer that hears 429 takes us out
        services.access.rates.by_address(address_of(connection, services))
    if opt.get("public") or _describes_the_api(connection):
        if not opt.get("anywhere"):
            await services.access.addresses.check(address_of(connection, services))
        return
    actor = await (find_operator if opt.get("emergency") else find_actor)(connection, services)
    if actor is None:
        raise UnauthenticatedError("send a token: Authorization: Bearer …")
    connection.state[ACTOR] = actor
    if connection.client is not None:
        services.gate.know(connection.client.host)
    services.access.rates.by_principal(actor.principal)
    if actor.stage and actor.stage not in opt.get("unfinished", ()):
        raise SecondFactorRequiredError(UNFINISHED[actor.stage])
    actor = connection.state[ACTOR] = await proven(connection, services, actor)
    if opt.get("signed_in"):
        if opt.get("fresh"):
            require_fresh(actor)
        return
    action = opt.get("action")
    if not isinstance(action, Action):
        raise ForbiddenError("this route declares no permission")
    environment = connection.path_params.get("environment")
    if environment is not None:
        authorize(actor, action, environment)
    elif not any(allows(actor.grants, action, each) for each in actor.grants):
        raise ForbiddenError(f"{actor.name} may not {action.words} anywhere")


async def find_actor(connection: Connection, services: Services) -> Actor | None:
    """Who sends this; None for nobody.

    Raises:
        UnauthenticatedError: a bearer token that does not hold.
        ForbiddenError: a browser's session used by another site, or without the page's token.
    """
    address = address_of(connection, services)
    header = connection.headers.get("authorization", "")
    if not header and (key := connection.headers.get("x-api-key")):  # OFREP's other way of showing a key
        header = f"Bearer {key}"
    if header:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError("send a token: Authorization: Bearer …")
        try:
            return await services.access.authenticator.by_bearer(token.strip(), address)
        except UnauthenticatedError:
            services.access.rates.failed(address)
            raise
    cookie = Cookies(services.settings.url).session_of(connection.cookies)
    actor = await services.access.authenticator.by_session(cookie, address) if cookie else None
    if actor is not None and connection.scope.get("method") not in SAFE_METHODS:
        await _check_forgery(connection, services, actor)
    return actor


async def find_operator(connection: Connection, services: Services) -> Actor | None:
    """The same for what can be done without Postgres: while it does not answer, an operator pass says who it is.

    Raises:
        UnauthenticatedError: the pass does not hold, either.
    """
    text = pass_of(connection, services)
    if not text:
        return await find_actor(connection, services)
    try:
        return await give_up_after(find_actor(connection, services), AUTHENTICATE_S)
    except (UnavailableError, TimeoutError):
        actor = operator_of(connection, services)
        connection.state[BY_PASS] = True
    if not connection.headers.get(PASS_HEADER) and connection.scope.get("method") not in SAFE_METHODS:
        await _check_forgery(connection, services, actor)  # a browser sends the cookie by itself
    return actor


def by_log(connection: Connection, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """`work`, which needs the database, unless only an operator pass says who asks: a pass switches nothing in the log.

    Raises:
        UnavailableError: the database did not say in time who asks.
    """
    if connection.state.get(BY_PASS):
        work.close()
        raise UnavailableError("the database did not answer in time")
    return work


def operator_of(connection: Connection, services: Services) -> Actor:
    """The holder of the operator pass that the request carries.

    Raises:
        UnavailableError: it carries none, or this replica never read the rules for addresses.
        UnauthenticatedError, AddressNotAllowedError: it carries one that does not hold, or not from here.
    """
    text = pass_of(connection, services)
    if not text:
        raise UnavailableError(
            f"the database does not answer, and the request carries no operator pass ({PASS_HEADER})"
        )
    try:
        actor = services.access.passes.open(text)
    except UnauthenticatedError:
        services.access.rates.failed(address_of(connection, services))
        raise
    actor = msgspec.structs.replace(actor, address=address_of(connection, services))
    return as_operator(services.access.addresses.admit_offline(actor))


def pass_of(connection: Connection, services: Services) -> str:
    return connection.headers.get(PASS_HEADER) or Cookies(services.settings.url).pass_of(connection.cookies)


def origin_of(connection: Connection, services: Services) -> Origin:
    """Where somebody signs in from: address, browser, and whether this device did before."""
    device = Cookies(services.settings.url).device_of(connection.cookies)
    return Origin(address_of(connection, services), connection.headers.get("user-agent", ""), device)


def address_of(connection: Connection, services: Services) -> str:
    peer = connection.client.host if connection.client else ""
    # Some proxies add a line of their own instead of extending the client's: the last line is theirs.
    hops = ",".join(connection.headers.getall("x-forwarded-for", []))
    return client_address(peer, hops, services.settings.proxies)


def check_origin(connection: Connection, services: Services) -> None:
    """For forms that nobody is signed in to yet. Raises ForbiddenError."""
    headers = connection.headers
    services.access.csrf.check_origin(
        headers.get("sec-fetch-site", ""), headers.get("origin", ""), headers.get("host", "")
    )


async def _check_forgery(connection: Connection, services: Services, actor: Actor) -> None:
    check_origin(connection, services)
    token = connection.headers.get(HEADER.lower(), "") or dict(await form_of(connection)).get(FIELD, "")
    services.access.csrf.check_token(actor.credential, token)


def _describes_the_api(connection: Connection) -> bool:
    return connection.scope["path"] in {f"{_OPENAPI}/openapi.json", _OPENAPI}


async def audit_denial(error: Exception, scope: Scope) -> None:
    """`after_exception`: whoever is refused stands in the audit log."""
    if not isinstance(error, ForbiddenError):
        return
    services: Services = scope["litestar_app"].state.services
    actor = scope.get("state", {}).get(ACTOR)
    if actor is None:
        return
    environment = str(scope.get("path_params", {}).get("environment", ""))[:100]
    with suppress(UnavailableError):  # who is refused is refused, whether or not it can be written down
        await services.access.audit.refused(
            Event.DENIED, actor, (Bound(actor.principal, MAX_DENIALS),), environment=environment,
            target=f"{scope.get('method', '')} {scope['path']}"[:300], reason=error.message[:300],
        )  # fmt: skip
