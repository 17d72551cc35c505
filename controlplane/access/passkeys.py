"""Passkeys (W3C WebAuthn Level 3): the two ceremonies. The browser keeps what was begun, sealed, in a cookie.

A challenge is bound to its purpose and to the session that asked for it, lasts five minutes and works once: what was used
is remembered until then. The origin and the relying party's id come from BROWNOUT_PUBLIC_URL.
"""

import ipaddress
import struct
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from controlplane.access.csrf import origin_of
from controlplane.access.queries import factors
from controlplane.access.queries.factors import PasskeyRow
from controlplane.errors import ConflictError, UnauthenticatedError
from controlplane.kit import tokens
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.kit.secret_box import SecretBox, SecretKeyError

Purpose = Literal["register", "prove", "sign_in"]
LASTS = timedelta(minutes=5)
LABEL = "ceremony"
_VERIFIED = UserVerificationRequirement.REQUIRED
_MALFORMED = (
    ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, NotImplementedError, struct.error,
    UnsupportedAlgorithm, AssertionError,
)  # fmt: skip
"""What the library raises for a response that does not hold, or is none."""

Json = dict[str, Any]
"""Options for the browser, or what it answers: WebAuthn's own JSON (§5.1.8, §5.1.10)."""


class Ceremony(msgspec.Struct, frozen=True):
    """`options` go to the browser's `navigator.credentials`, `sealed` into its cookie."""

    options: Json
    sealed: str


class Registered(msgspec.Struct, frozen=True):
    credential_id: bytes
    credential: bytes
    sign_count: int


class _State(msgspec.Struct, frozen=True):
    challenge: str
    purpose: Purpose
    session: str
    until: datetime


class Passkeys:
    def __init__(self, database: Database, clock: Clock, secret_keys: tuple[str, ...], public_url: str) -> None:
        self._database = database
        self._clock = clock
        self._box = SecretBox(secret_keys, "passkey-ceremony")
        self._origin = origin_of(public_url)
        self._host = urlsplit(public_url).hostname or ""
        self._secure = public_url.startswith("https://") or self._host == "localhost"
        rp = PublicKeyCredentialRpEntity(name="Brownout", id=self._host)
        self._server = Fido2Server(rp, verify_origin=lambda origin: origin == self._origin)

    @property
    def obstacle(self) -> str:
        """Why there are no passkeys at this address; empty when there are."""
        try:
            ipaddress.ip_address(self._host)
        except ValueError:
            return "" if self._secure else "Passkeys need HTTPS: set BROWNOUT_PUBLIC_URL to an https:// address."
        return "Passkeys need a host name, not an IP address: set BROWNOUT_PUBLIC_URL, or use localhost."

    async def begin_registration(self, session: str, person: str, email: str) -> Ceremony:
        """Raises ConflictError where there are no passkeys."""
        self._possible()
        async with self._database.reading() as connection:
            known = await factors.passkeys(connection, person)
        options, state = self._server.register_begin(
            PublicKeyCredentialUserEntity(id=person.encode(), name=email, display_name=email),
            _descriptors(known),
            resident_key_requirement=ResidentKeyRequirement.PREFERRED,
            user_verification=_VERIFIED,
        )
        return self._sealed(dict(options.public_key), state["challenge"], "register", session)

    async def begin(self, purpose: Purpose, session: str, person: str = "") -> Ceremony:
        """For a proof of `person`, or to sign in whoever it turns out to be. Raises ConflictError."""
        self._possible()
        async with self._database.reading() as connection:
            known = await factors.passkeys(connection, person) if person else []
        options, state = self._server.authenticate_begin(_descriptors(known) or None, user_verification=_VERIFIED)
        return self._sealed(dict(options.public_key), state["challenge"], purpose, session)

    async def registered(self, sealed: str, session: str, response: Json) -> Registered:
        """Raises UnauthenticatedError for what does not hold, was begun elsewhere, or is used again."""
        state = self._opened(sealed, "register", session)
        try:
            data = self._server.register_complete(_server_state(state), response)
            found = data.credential_data
            assert found is not None
            made = Registered(found.credential_id, bytes(found), data.counter)
        except _MALFORMED as error:
            raise _does_not_hold() from error
        await self._use(state)
        return made

    async def verified(
        self, sealed: str, purpose: Purpose, session: str, response: Json, person: str = ""
    ) -> tuple[PasskeyRow, bool]:
        """(the passkey, whether its counter went up as it must). `person`: whose it has to be; empty = anybody's.

        Raises:
            UnauthenticatedError: unknown, malformed, begun elsewhere, too late, or used again.
        """
        state = self._opened(sealed, purpose, session)
        try:
            answer = AuthenticationResponse.from_dict(response)
            async with self._database.reading() as connection:
                row = await factors.find_passkey(connection, bytes(answer.raw_id))
            if row is None or (person and row.person != person):
                raise _does_not_hold()
            handle = answer.response.user_handle
            if handle and handle != row.person.encode():
                raise _does_not_hold()
            self._server.authenticate_complete(_server_state(state), [AttestedCredentialData(row.credential)], response)
            count = answer.response.authenticator_data.counter
        except _MALFORMED as error:
            raise _does_not_hold() from error
        await self._use(state)
        async with self._database.transaction() as connection:
            counts = await factors.use_passkey(connection, row.id, count, self._clock.now())
        return row, counts

    def _possible(self) -> None:
        if self.obstacle:
            raise ConflictError(self.obstacle)

    def _sealed(self, options: Json, challenge: str, purpose: Purpose, session: str) -> Ceremony:
        state = _State(challenge, purpose, session, self._clock.now() + LASTS)
        sealed = self._box.seal(msgspec.json.encode(state), LABEL).hex()
        return Ceremony(msgspec.json.decode(msgspec.json.encode(options, enc_hook=str)), sealed)

    def _opened(self, sealed: str, purpose: Purpose, session: str) -> _State:
        try:
            state = msgspec.json.decode(self._box.open(bytes.fromhex(sealed), LABEL), type=_State)
        except (ValueError, SecretKeyError, msgspec.MsgspecError):
            raise _does_not_hold() from None
        if (state.purpose, state.session) != (purpose, session) or state.until <= self._clock.now():
            raise _does_not_hold()
        return state

    async def _use(self, state: _State) -> None:
        digest = tokens.digest(state.challenge)
        async with self._database.transaction() as connection:
            if not await factors.use_challenge(connection, digest, self._clock.now(), state.until):
                raise _does_not_hold()


def _descriptors(known: list[PasskeyRow]) -> list[PublicKeyCredentialDescriptor]:
    kind = PublicKeyCredentialType.PUBLIC_KEY
    return [PublicKeyCredentialDescriptor(type=kind, id=row.credential_id) for row in known]


def _server_state(state: _State) -> dict[str, object]:
    return {"challenge": state.challenge, "user_verification": _VERIFIED}


def _does_not_hold() -> UnauthenticatedError:
    return UnauthenticatedError("that passkey was not accepted; try again")
