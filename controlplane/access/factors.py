"""A person's second factors: an authenticator app, passkeys, recovery codes. Set up by themselves, forgotten by others."""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from controlplane.access import recovery, totp
from controlplane.access.actor import ANY_ENVIRONMENT, Action, Actor, authorize, require_fresh
from controlplane.access.audit import Audit
from controlplane.access.memory import ActorMemory
from controlplane.access.passkeys import Json, Passkeys
from controlplane.access.people import grants_of
from controlplane.access.queries import credentials, factors, hands, people
from controlplane.access.queries.factors import Held, PasskeyRow
from controlplane.access.telling import ApproverAlerts
from controlplane.access.values import Event
from controlplane.errors import ConflictError, Fault, ForbiddenError, InvalidInputError, NotFoundError
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, ReadConnection, WriteConnection
from controlplane.kit.resealing import Sealed, Vault
from controlplane.kit.secret_box import SecretBox

MOST_PASSKEYS = 20
_MAX_NAME = 80


class PasskeyInfo(msgspec.Struct, frozen=True):
    id: str
    name: str
    created_at: datetime
    used_at: datetime | None


class FactorsInfo(msgspec.Struct, frozen=True):
    """What somebody has set up. `recovery_codes`: how many are left; `obstacle`: why there are no passkeys here."""

    app: bool
    passkeys: list[PasskeyInfo]
    recovery_codes: int
    obstacle: str


class TotpKey(msgspec.Struct, frozen=True):
    """What an authenticator app needs: to type, or (`qr`, the address of an image) to scan. Shown until a code has confirmed it."""

    key: str
    uri: str
    qr: str

    def __repr__(self) -> str:
        return "TotpKey(…)"


class RecoveryCodes(msgspec.Struct, frozen=True):
    """Shown now and never again; empty when there were some already."""

    codes: list[str]

    def __repr__(self) -> str:
        return f"RecoveryCodes({len(self.codes)})"


class Factors:
    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        audit: Audit,
        memory: ActorMemory,
        passkeys: Passkeys,
        box: SecretBox,
        alerts: ApproverAlerts,
        new_id: Callable[[], str],
    ) -> None:
        self._alerts = alerts
        self._database = database
        self._clock = clock
        self._audit = audit
        self._memory = memory
        self._passkeys = passkeys
        self._box = box
        self._new_id = new_id

    async def info(self, actor: Actor) -> FactorsInfo:
        person = _themselves(actor)
        async with self._database.reading() as connection:
            held, rows = await factors.held(connection, person), await factors.passkeys(connection, person)
        known = [PasskeyInfo(row.id, row.name, row.created_at, row.used_at) for row in rows]
        return FactorsInfo(held.code, known, held.recovery, self._passkeys.obstacle)

    async def begin_app(self, actor: Actor) -> TotpKey:
        """A new key, which counts once a code of it has been shown. Raises ConflictError when there is one."""
        person, key = _changing(actor), totp.new_key()
        async with self._database.transaction() as connection:
            if not await factors.begin_totp(connection, person, self._box.seal(key, person), self._clock.now()):
                raise ConflictError("you have an authenticator app; remove it first")
        uri = totp.uri(key, actor.name)
        return TotpKey(totp.key_text(key), uri, totp.qr_image(uri))

    async def begun_app(self, actor: Actor) -> TotpKey | None:
        """The key that waits for its first code."""
        person = _changing(actor)
        async with self._database.reading() as connection:
            row = await factors.totp(connection, person)
        if row is None or row.confirmed_at is not None:
            return None
        key = self._box.open(row.sealed, person)
        uri = totp.uri(key, actor.name)
        return TotpKey(totp.key_text(key), uri, totp.qr_image(uri))

    async def confirm_app(self, actor: Actor, code: str) -> RecoveryCodes:
        """Raises InvalidInputError for a wrong code, NotFoundError when none was begun."""
        person, now = _changing(actor), self._clock.now()
        async with self._database.transaction() as connection:
            held, row = await factors.held(connection, person), await factors.totp(connection, person)
            if row is None or row.confirmed_at is not None:
                raise NotFoundError("there is no authenticator app to confirm; begin again")
            step = totp.matching_step(self._box.open(row.sealed, person), code.replace(" ", ""), now)
            if step is None or not await factors.use_step(connection, person, step):
                message = "the code is wrong: check the clock of your device, and take the present code"
                raise InvalidInputError(message, (Fault("not_proven", message, "/code"),))
            await factors.confirm_totp(connection, person, now)
            return await self._added(connection, actor, held, "authenticator app")

    async def remove_app(self, actor: Actor) -> None:
        person = _changing(actor)
        async with self._database.transaction() as connection:
            if not await factors.delete_totp(connection, person):
                raise NotFoundError("you have no authenticator app")
            await self._removed(connection, actor, "authenticator app")

    async def add_passkey(self, actor: Actor, ceremony: str, response: Json, name: str) -> RecoveryCodes:
        """Raises UnauthenticatedError for a response that does not hold, ConflictError for too many."""
        person, clean = _changing(actor), _name(name)
        made = await self._passkeys.registered(ceremony, actor.credential, response)
        row = PasskeyRow(
            self._new_id(), person, clean, made.credential_id, made.credential, made.sign_count, self._clock.now(), None
        )  # fmt: skip
        async with self._database.transaction() as connection:
            held = await factors.held(connection, person)
            if len(await factors.passkeys(connection, person)) >= MOST_PASSKEYS:
                raise ConflictError(f"you have {MOST_PASSKEYS} passkeys; remove one first")
            if not await factors.insert_passkey(connection, row):
                raise ConflictError("that passkey is registered already")
            return await self._added(connection, actor, held, f"passkey {clean}")

    async def rename_passkey(self, actor: Actor, passkey: str, name: str) -> None:
        person, clean = _themselves(actor), _name(name)
        async with self._database.transaction() as connection:
            if not await factors.rename_passkey(connection, person, passkey, clean):
                raise NotFoundError("you have no such passkey")

    async def remove_passkey(self, actor: Actor, passkey: str) -> None:
        person = _changing(actor)
        async with self._database.transaction() as connection:
            name = next((row.name for row in await factors.passkeys(connection, person) if row.id == passkey), "")
            if not await factors.delete_passkey(connection, person, passkey):
                raise NotFoundError("you have no such passkey")
            await self._removed(connection, actor, f"passkey {name}")

    async def new_recovery_codes(self, actor: Actor) -> RecoveryCodes:
        """Ten new ones; the old ones stop working. Raises ConflictError without a second factor."""
        person = _changing(actor)
        async with self._database.transaction() as connection:
            if not (await factors.held(connection, person)).factor:
                raise ConflictError("recovery codes come with a second factor; set one up first")
            made = await self._codes(connection, person)
            await self._audit.record(connection, Event.RECOVERY_CODES_MADE, actor, target=actor.name)
        return made

    async def reset(self, actor: Actor, person: str) -> None:
        """Forgets every second factor of somebody who has lost theirs, and ends their sessions."""
        authorize(actor, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)
        async with self._database.transaction() as connection:
            row = await people.by_id(connection, person)
            if row is None:
                raise NotFoundError("there is no such person")
            await factors.forget_factors(connection, person)
            await credentials.end_sessions_of(connection, person, self._clock.now())
            await hands.factors_forgotten(connection, person, actor, self._clock.now())
            held = grants_of(await people.grants(connection, person))
            alerts = await self._alerts.changed(connection, actor, row.email, "second factors forgotten", held)
            await self._audit.record(connection, Event.SECOND_FACTOR_RESET, actor, target=row.email)
        self._memory.forget()
        await self._alerts.tell(alerts)

    async def _added(self, connection: WriteConnection, actor: Actor, before: Held, what: str) -> RecoveryCodes:
        """With the first factor come recovery codes, and sessions that never showed one end."""
        codes = RecoveryCodes([])
        if not before.factor:
            codes = await self._codes(connection, actor.person)
            await credentials.end_sessions_of(connection, actor.person, self._clock.now(), but=actor.credential)
        await self._audit.record(connection, Event.SECOND_FACTOR_ADDED, actor, target=actor.name, reason=what)
        self._memory.forget()
        return codes

    async def _removed(self, connection: WriteConnection, actor: Actor, what: str) -> None:
        if not (await factors.held(connection, actor.person)).factor:
            await factors.forget_recovery_codes(connection, actor.person)
        await self._audit.record(connection, Event.SECOND_FACTOR_REMOVED, actor, target=actor.name, reason=what)
        self._memory.forget()

    async def _codes(self, connection: WriteConnection, person: str) -> RecoveryCodes:
        codes = recovery.mint()
        digests = [digest for code in codes if (digest := recovery.digest(person, code))]
        await factors.set_recovery_codes(connection, person, digests, self._clock.now())
        return RecoveryCodes(codes)


def app_box(secret_keys: Sequence[str]) -> SecretBox:
    """Seals the keys of authenticator apps; each under its person's id."""
    return SecretBox(secret_keys, "authenticator-apps")


def app_vault(secret_keys: Sequence[str]) -> Vault:
    """Those keys, for when the secret key changes."""

    async def read(connection: ReadConnection) -> list[Sealed]:
        return [Sealed((row.person,), row.person, row.sealed) for row in await factors.totps(connection)]

    async def replace(connection: WriteConnection, old: Sealed, fresh: bytes) -> None:
        await factors.replace_totp(connection, old.key[0], old.sealed, fresh)

    return Vault("keys of authenticator apps", app_box(secret_keys), read, replace)


def _themselves(actor: Actor) -> str:
    if actor.kind != "person" or actor.stage == "factor":
        raise ForbiddenError("only a person who is signed in has second factors")
    return actor.person


def _changing(actor: Actor) -> str:
    person = _themselves(actor)
    require_fresh(actor)
    return person


def _name(name: str) -> str:
    clean = " ".join(name.split())
    if not 1 <= len(clean) <= _MAX_NAME or not clean.isprintable():
        message = f"a name has 1 to {_MAX_NAME} printable characters"
        raise InvalidInputError(message, (Fault("invalid_value", message, "/name"),))
    return clean
