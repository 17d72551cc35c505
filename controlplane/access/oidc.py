"""Signing in at an identity provider: OpenID Connect, authorization code with PKCE (RFC 7636, OpenID Connect Core)."""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from controlplane.access.csrf import safe_path
from controlplane.errors import SignInAgainError, UnauthenticatedError, UnavailableError
from controlplane.kit.clock import Clock
from controlplane.kit.secret_box import SecretBox, SecretKeyError

T = TypeVar("T")

STATE_LASTS = timedelta(minutes=10)
_SCOPE = "openid email profile"
_OFFLINE = "offline_access"
_GONE = "invalid_grant"
_ASKS = frozenset({"login_required", "interaction_required", "consent_required", "account_selection_required"})
"""What a provider says to a silent sign-in that cannot be silent (OpenID Connect Core §3.1.2.6)."""
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"]
"""Signatures only: never `none`, never a shared secret."""
_LEEWAY_S = 60
_TIMEOUT_S = 10


class OidcSettings(msgspec.Struct, frozen=True):
    """`roles`: group → environment (or `*`) → roles. `groups_claim` is where the provider puts a person's groups."""

    issuer: str
    client_id: str
    client_secret: str
    roles: dict[str, dict[str, list[str]]]
    groups_claim: str = "groups"
    acr: tuple[str, ...] = ()
    """Authentication contexts that are asked for; the answer must name one of them."""
    amr: tuple[str, ...] = ()
    """Methods of which the provider must have used one."""

    def __repr__(self) -> str:
        return f"OidcSettings({self.issuer})"


class Identity(msgspec.Struct, frozen=True):
    """Who the provider says it is. `email` is empty unless the provider has verified it."""

    issuer: str
    subject: str
    email: str
    name: str
    groups: frozenset[str]
    again: "Again"

    def __repr__(self) -> str:
        return f"Identity({self.subject})"


class Again(msgspec.Struct, frozen=True):
    """What the provider can be asked with again, when nobody is at the browser. Empty where it gives nothing."""

    refresh: str = ""
    access: str = ""

    def __repr__(self) -> str:
        return "Again(…)"


class Began(msgspec.Struct, frozen=True):
    """`url`: where to send the browser; `sealed`: its cookie until it comes back."""

    url: str
    sealed: str


class _State(msgspec.Struct, frozen=True):
    state: str
    nonce: str
    verifier: str
    then: str
    until: float
    fresh: bool = False


class _Provider(msgspec.Struct, frozen=True):
    """What of the discovery document we use (OpenID Connect Discovery §3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    scopes_supported: tuple[str, ...] = ()


class _Tokens(msgspec.Struct, frozen=True):
    """`id_token` is always there after a sign-in, not always after a refresh."""

    access_token: str
    id_token: str = ""
    refresh_token: str = ""

    def __repr__(self) -> str:
        return "_Tokens(…)"


class _Refusal(msgspec.Struct, frozen=True):
    error: str


class Oidc:
    """One provider. What it publishes is fetched on first use, its keys again when it signs with a new one."""

    def __init__(self, settings: OidcSettings, secret_keys: Sequence[str], clock: Clock) -> None:
        self.settings = settings
        self._box = SecretBox(secret_keys, "oidc-state")
        self._clock = clock
        self._provider: _Provider | None = None
        self._keys: KeySet | None = None
        self._fetching = asyncio.Lock()

    async def begin(self, redirect_uri: str, then: str, *, fresh: bool = False, silent: bool = False) -> Began:
        """`fresh`: the provider shall ask who they are even if it knows; `silent`: only if it has nothing to ask.

        Raises:
            UnavailableError: it does not answer.
        """
        provider = await self._discovered()
        state = _State(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            then=safe_path(then),
            until=(self._clock.now() + STATE_LASTS).timestamp(),
            fresh=fresh,
        )
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": _SCOPE + (f" {_OFFLINE}" if _OFFLINE in provider.scopes_supported else ""),
            "state": state.state,
            "nonce": state.nonce,
            "code_challenge": _challenge(state.verifier),
            "code_challenge_method": "S256",
            **({"acr_values": " ".join(self.settings.acr)} if self.settings.acr else {}),
            **({"prompt": "login", "max_age": "0"} if fresh else {}),
        }
        if silent:
            query["prompt"] = "none"
        url = httpx.URL(provider.authorization_endpoint).copy_merge_params(query)
        return Began(str(url), self._box.seal(msgspec.json.encode(state), "state").hex())

    async def finish(
        self, redirect_uri: str, sealed: str, answer: Mapping[str, str]
    ) -> tuple[Identity, str, bool, bool]:
        """(who it is, the path they wanted, whether a fresh proof was asked for, and given). `answer`: the callback's query.

        Raises:
            UnauthenticatedError: not what was begun in this browser, refused, or signed by somebody else.
            UnavailableError: the provider does not answer.
        """
        state = self._opened(sealed)
        if not secrets.compare_digest(state.state.encode(), answer.get("state", "").encode()):
            raise UnauthenticatedError("that sign-in was not begun in this browser; try again")
        if answer.get("error") in _ASKS:
            raise SignInAgainError("the identity provider wants to ask something first")
        if "error" in answer or "code" not in answer:
            raise UnauthenticatedError("the identity provider did not let you in")
        provider = await self._discovered()
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
                tokens = await self._exchange(client, provider, redirect_uri, answer["code"], state.verifier)
                claims = await self._claims(provider, tokens.id_token, state.nonce)
                self._check_strength(claims)
                if self.settings.groups_claim not in claims and provider.userinfo_endpoint:
                    claims = await _with_userinfo(client, provider.userinfo_endpoint, tokens.access_token, claims)
        except httpx.HTTPError as error:
            raise UnavailableError("the identity provider does not answer") from error
        who = self._identity(provider, claims, Again(tokens.refresh_token, tokens.access_token))
        return who, state.then, state.fresh, state.fresh and _asked_since(state, claims)

    async def confirm(self, again: Again, subject: str) -> Identity:
        """Who it is now, and with which groups; nobody is at the browser.

        Raises:
            UnauthenticatedError: the provider no longer stands by them.
            UnavailableError: it does not answer, or not to this.
        """
        provider = await self._discovered()
        claims: dict[str, Any] = {"sub": subject}
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
                if again.refresh:
                    tokens = await self._refreshed(client, provider, again.refresh)
                    again = Again(tokens.refresh_token or again.refresh, tokens.access_token)
                    if tokens.id_token:
                        claims = await self._claims(provider, tokens.id_token, None)
                        if claims["sub"] != subject:
                            raise UnauthenticatedError("the identity provider's response is invalid")
                if self.settings.groups_claim not in claims:
                    if not (provider.userinfo_endpoint and again.access):
                        raise UnavailableError("the identity provider returns no groups without a sign-in")
                    claims = await _with_userinfo(client, provider.userinfo_endpoint, again.access, claims)
        except httpx.HTTPError as error:
            raise UnavailableError("the identity provider does not answer") from error
        return self._identity(provider, claims, again)

    async def _refreshed(self, client: httpx.AsyncClient, provider: _Provider, refresh: str) -> _Tokens:
        """New tokens (RFC 6749 §6). Only `invalid_grant` speaks of the person; all else is between us and them."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh}
        response = await client.post(provider.token_endpoint, data=form, auth=self._basic())
        try:
            if (
                response.status_code in {400, 401}
                and msgspec.json.decode(response.content, type=_Refusal).error == _GONE
            ):
                raise UnauthenticatedError("the identity provider disowns them")
            response.raise_for_status()
            return msgspec.json.decode(response.content, type=_Tokens)
        except msgspec.MsgspecError:
            raise UnavailableError("the identity provider's response cannot be read") from None

    def _check_strength(self, claims: Mapping[str, Any]) -> None:
        """Of the ID token, which is signed: how the provider has found out (OpenID Connect Core §2: acr, amr)."""
        used = claims.get("amr", ())
        weak_acr = self.settings.acr and claims.get("acr") not in self.settings.acr
        weak_amr = self.settings.amr and not (isinstance(used, list) and set(map(str, used)) & set(self.settings.amr))
        if weak_acr or weak_amr:
            raise UnauthenticatedError("your identity provider did not ask for a second factor")

    async def _exchange(
        self, client: httpx.AsyncClient, provider: _Provider, redirect_uri: str, code: str, verifier: str
    ) -> _Tokens:
        """The code for tokens (RFC 6749 §4.1.3, with the client's secret by HTTP Basic, §2.3.1)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        response = await client.post(provider.token_endpoint, data=form, auth=self._basic())
        if response.status_code in {400, 401, 403}:
            raise UnauthenticatedError("the identity provider did not accept the sign-in")
        response.raise_for_status()
        try:
            return msgspec.json.decode(response.content, type=_Tokens)
        except msgspec.MsgspecError:
            raise UnauthenticatedError("the identity provider's response is invalid") from None

    def _basic(self) -> httpx.BasicAuth:
        return httpx.BasicAuth(quote(self.settings.client_id, safe=""), quote(self.settings.client_secret, safe=""))

    def _opened(self, sealed: str) -> _State:
        try:
            state = msgspec.json.decode(self._box.open(bytes.fromhex(sealed), "state"), type=_State)
        except (ValueError, SecretKeyError, msgspec.MsgspecError):
            raise UnauthenticatedError("that sign-in was not begun in this browser; try again") from None
        if state.until < self._clock.now().timestamp():
            raise UnauthenticatedError("that took too long; try again")
        return state

    async def _claims(self, provider: _Provider, id_token: str, nonce: str | None) -> dict[str, Any]:
        """The claims of an ID token that is good (OpenID Connect Core §3.1.3.7; without a nonce after a refresh, §12.2)."""
        options: dict[str, Any] = {} if nonce is None else {"nonce": {"essential": True, "value": nonce}}
        wanted = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock.now().timestamp()),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": provider.issuer},
            aud={"essential": True, "value": self.settings.client_id},
            exp={"essential": True},
            sub={"essential": True},
            **options,
        )
        for fresh in (False, True):  # a key that we do not know may be new
            try:
                keys = await self._known_keys(provider, fresh=fresh)
                claims = jwt.decode(id_token, keys, algorithms=_ALGORITHMS).claims
                wanted.validate(claims)
            except (JoseError, ValueError) as error:
                if fresh:
                    raise UnauthenticatedError("the identity provider's response is invalid") from error
            else:
                return dict(claims)
        raise AssertionError("unreachable")

    async def _discovered(self) -> _Provider:
        async with self._fetching:
            if self._provider is None:
                url = self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
                found = await _fetch(url, _Provider)
                if found.issuer.rstrip("/") != self.settings.issuer.rstrip("/"):
                    raise UnavailableError("the identity provider calls itself by another name than configured")
                self._provider = found
            return self._provider

    async def _known_keys(self, provider: _Provider, *, fresh: bool) -> KeySet:
        async with self._fetching:
            if self._keys is None or fresh:
                self._keys = KeySet.import_key_set(await _fetch(provider.jwks_uri, dict[str, Any]))  # type: ignore[arg-type]
            return self._keys

    def _identity(self, provider: _Provider, claims: Mapping[str, Any], again: Again) -> Identity:
        verified = claims.get("email_verified") is True
        email = str(claims.get("email", "")) if verified else ""
        raw = claims.get(self.settings.groups_claim, ())
        groups = frozenset(map(str, raw)) if isinstance(raw, list | tuple) else frozenset({str(raw)})
        return Identity(provider.issuer, str(claims["sub"]), email, str(claims.get("name", "")), groups, again)


async def _fetch(url: str, into: type[T]) -> T:
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            response = await client.get(url)
            response.raise_for_status()
            return msgspec.json.decode(response.content, type=into)
    except (httpx.HTTPError, msgspec.MsgspecError) as error:
        raise UnavailableError("the identity provider does not answer") from error


def _asked_since(state: _State, claims: Mapping[str, Any]) -> bool:
    """Whether the provider has asked them since we sent them there: it tells with `max_age` (Core §3.1.2.1)."""
    at = claims.get("auth_time")
    return isinstance(at, int) and at >= state.until - STATE_LASTS.total_seconds() - _LEEWAY_S


def _challenge(verifier: str) -> str:
    """PKCE's S256 (RFC 7636 §4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


async def _with_userinfo(
    client: httpx.AsyncClient, url: str, access_token: str, claims: dict[str, Any]
) -> dict[str, Any]:
    """Groups are often only there. Its subject must be the token's (OpenID Connect Core §5.3.2)."""
    response = await client.get(url, headers={"Authorization": f"Bearer {access_token}"})
    response.raise_for_status()
    found = response.json()
    if found.get("sub") != claims["sub"]:
        raise UnauthenticatedError("the identity provider's response is invalid")
    return {**found, **claims}
