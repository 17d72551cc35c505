"""Proving who you are once more: at sign-in with the second factor, and before what is sensitive (ADR 0067)."""

import msgspec

from controlplane.access import recovery, totp
from controlplane.access.actor import Actor
from controlplane.access.audit import Audit
from controlplane.access.memory import ActorMemory
from controlplane.access.passkeys import Json, Passkeys, Purpose
from controlplane.access.passwords import Passwords
from controlplane.access.queries import credentials, factors, people
from controlplane.access.throttle import LoginThrottle
from controlplane.access.values import Event
from controlplane.errors import Fault, ForbiddenError, InvalidInputError, UnauthenticatedError
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.kit.notify import Notify
from controlplane.kit.secret_box import SecretBox

SECOND_FACTOR = "second-factor"
"""Codes are throttled by account alone, wherever they come from: who guesses them knows the password already."""


class Proof(msgspec.Struct, frozen=True):
    """One of them. `code`: six digits of an app, or a recovery code; `ceremony`: the cookie of `passkey`."""

    password: str = ""
    code: str = ""
    passkey: Json | None = None
    ceremony: str = ""

    def __bool__(self) -> bool:
        return bool(self.password or self.code or self.passkey)

    def __repr__(self) -> str:
        return "Proof(…)"


class Prover:
    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        audit: Audit,
        memory: ActorMemory,
        passwords: Passwords,
        throttle: LoginThrottle,
        passkeys: Passkeys,
        box: SecretBox,
        notify: Notify,
    ) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit
        self._memory = memory
        self._passwords = passwords
        self._throttle = throttle
        self._passkeys = passkeys
        self._box = box
        self._notify = notify

    async def prove(self, actor: Actor, proof: Proof) -> None:
        """What is sensitive is open to this session or personal token from now on, for a while.

        Raises:
            ForbiddenError: a machine has nobody to prove.
            InvalidInputError: it does not hold; or it is a password, and there is a second factor.
            RateLimitedError: too many wrong ones.
        """
        if not actor.human or actor.stage == "factor":
            raise ForbiddenError("only people prove who they are")
        kind = await self.check(actor, proof, "prove")
        now = self._clock.now()
        async with self._database.transaction() as connection:
            if actor.kind == "person":
                await credentials.prove_session(connection, actor.credential, now)
            else:
                await credentials.prove_token(connection, actor.credential, now)
            await self._audit.record(connection, Event.PROVEN, actor, target=actor.name, reason=kind)
        self._memory.forget()

    async def check(self, actor: Actor, proof: Proof, purpose: Purpose) -> str:
        """What proved it: `password`, `code`, `recovery` or `passkey`. Raises as `prove` does."""
        async with self._database.reading() as connection:
            held = await factors.held(connection, actor.person)
        try:
            if proof.passkey is not None:
                return await self._by_passkey(actor, proof, purpose)
            if proof.code:
                return await self._by_code(actor, proof.code)
            if proof.password and not held.factor:
                return await self._by_password(actor, proof.password)
        except UnauthenticatedError as error:
            raise _wrong("passkey", error.message) from None
        ways = ", ".join(held.proofs) or "none"
        raise _wrong("password" if proof.password else "code", f"prove it with what you have set up: {ways}")

    async def _by_password(self, actor: Actor, password: str) -> str:
        self._throttle.begin(actor.name, actor.address, actor.credential)
        async with self._database.reading() as connection:
            person = await people.by_id(connection, actor.person)
        if person is None or not await self._passwords.matches(person.password, password):
            await self._refused(actor, "wrong password")
            raise _wrong("password", "the password is wrong")
        self._throttle.succeeded(actor.name, actor.address, actor.credential)
        return "password"

    async def _by_code(self, actor: Actor, typed: str) -> str:
        self._throttle.begin(actor.name, "", SECOND_FACTOR)
        plain = typed.replace(" ", "")
        now = self._clock.now()
        async with self._database.transaction() as connection:
            if len(plain) == totp.DIGITS:
                row = await factors.totp(connection, actor.person)
                step = None
                if row is not None and row.confirmed_at is not None:
                    step = totp.matching_step(self._box.open(row.sealed, actor.person), plain, now)
                holds = step is not None and await factors.use_step(connection, actor.person, step)
            else:
                digest = recovery.digest(actor.person, typed)
                holds = digest is not None and await factors.use_recovery_code(connection, actor.person, digest, now)
            left = (await factors.held(connection, actor.person)).recovery
        if not holds:
            await self._refused(actor, "wrong code")
            raise _wrong("code", "the code is wrong, or was used already; wait for the next one")
        self._throttle.succeeded(actor.name, "", SECOND_FACTOR)
        if len(plain) == totp.DIGITS:
            return "code"
        fields = {"person": actor.name, "address": actor.address, "left": str(left)}
        await self._notify("recovery_code_used", fields)
        return "recovery"

    async def _by_passkey(self, actor: Actor, proof: Proof, purpose: Purpose) -> str:
        assert proof.passkey is not None
        row, counts = await self._passkeys.verified(
            proof.ceremony, purpose, actor.credential, proof.passkey, actor.person
        )
        if not counts:
            await self.copied(actor, row.name)
            raise UnauthenticatedError("that passkey's counter went back: it may have been copied; use another factor")
        return "passkey"

    async def copied(self, actor: Actor, passkey: str) -> None:
        """Says that there may be two of a passkey."""
        await self._refused(actor, f"counter of the passkey {passkey} went back")
        await self._notify("passkey_counter_went_back", {"person": actor.name, "passkey": passkey})

    async def _refused(self, actor: Actor, why: str) -> None:
        event = Event.SIGN_IN if actor.stage == "factor" else Event.PROVEN
        await self._audit.note(event, actor, target=actor.name, reason=why, outcome="refused")


def _wrong(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(message, (Fault("not_proven", message, f"/{field}"),))
