"""To the identity provider and back. Not in the API's description: browsers go here, programs do not."""

from typing import Any

from litestar import Controller, Request, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Redirect

from controlplane.access.actor import Actor
from controlplane.access.oidc import STATE_LASTS
from controlplane.access.sso import SingleSignOn
from controlplane.errors import NotFoundError, SignInAgainError, UnauthenticatedError, UnavailableError
from controlplane.http.cookies import Cookies
from controlplane.http.guard import address_of, origin_of
from controlplane.http.root import at
from controlplane.services import Services

SIGN_IN_PAGE = "/sign-in"


class OidcController(Controller):
    path = "/auth/oidc"
    include_in_schema = False

    @get("/start", opt={"public": True})
    async def start(
        self,
        services: NamedDependency[Services],
        *,
        then: FromQuery[str] = "/",
        fresh: FromQuery[bool] = False,
        silent: FromQuery[bool] = False,
    ) -> Redirect:
        """Sends the browser to the provider; `fresh`: for a proof, so that it asks who they are in any case; `silent`:
        which is to ask nothing."""
        try:
            began = await _sso(services).oidc.begin(_callback(services), then, fresh=fresh, silent=silent)
        except UnavailableError:
            return Redirect(at(f"{SIGN_IN_PAGE}?sso=unavailable"))
        lasts_s = int(STATE_LASTS.total_seconds())
        return Redirect(began.url, cookies=[Cookies(services.settings.url).sso_state(began.sealed, lasts_s)])

    @get("/callback", opt={"public": True})
    async def callback(self, request: Request[Any, Any, Any], services: NamedDependency[Services]) -> Redirect:
        """Takes who comes back."""
        cookies = Cookies(services.settings.url)
        sealed = request.cookies.get(cookies.state, "")
        answer = {name: str(value) for name, value in request.query_params.items()}
        try:
            present = await _present(request, services)
            signed_in, then = await _sso(services).finish(
                _callback(services), sealed, answer, origin_of(request, services), present
            )
        except SignInAgainError:
            return Redirect(at(f"{SIGN_IN_PAGE}?sso=again"), cookies=[cookies.sso_state("", 0)])
        except UnauthenticatedError:
            return Redirect(at(f"{SIGN_IN_PAGE}?sso=refused"), cookies=[cookies.sso_state("", 0)])
        except UnavailableError:
            return Redirect(at(f"{SIGN_IN_PAGE}?sso=unavailable"), cookies=[cookies.sso_state("", 0)])
        entered = cookies.signed_in(signed_in) if signed_in else []
        return Redirect(at(then), cookies=[*entered, cookies.sso_state("", 0)])


async def _present(request: Request[Any, Any, Any], services: Services) -> Actor | None:
    """The person whose session this browser has; none while the provider has to confirm it."""
    session = Cookies(services.settings.url).session_of(request.cookies)
    try:
        found = services.access.authenticator.by_session(session, address_of(request, services)) if session else None
        return await found if found else None
    except SignInAgainError:
        return None


def _sso(services: Services) -> SingleSignOn:
    if services.sso is None:
        raise NotFoundError("no identity provider is configured here")
    return services.sso


def _callback(services: Services) -> str:
    return f"{services.settings.url}/auth/oidc/callback"
