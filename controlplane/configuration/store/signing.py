"""The Ed25519 keys that sign an environment's messages; each new one is vouched for by the one before."""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from secrets import token_hex
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import NoResultFound

from brownout import wire
from controlplane.configuration.store.tables import environment as environment_table
from controlplane.configuration.store.tables import signing_key
from controlplane.errors import NotFoundError
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database, ReadConnection, WriteConnection
from controlplane.kit.resealing import Sealed, Vault
from controlplane.kit.secret_box import SecretBox, SecretKeyError


class SigningKey(NamedTuple):
    kid: str
    private: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        """32 raw bytes: what an SDK key pins."""
        return self.private.public_key().public_bytes_raw()

    def sign(self, kind: wire.SignedKind, environment: str, payload: bytes) -> str:
        return wire.sign(self.private, self.kid, kind, environment, payload)


class SigningKeys:
    """Private keys are decrypted once and kept in memory by kid; which one is current is always asked."""

    def __init__(self, database: Database, clock: Clock, secrets: str | Sequence[str]) -> None:
        self._database = database
        self._clock = clock
        self._box = SecretBox(secrets, "signing-keys")
        self._known: dict[tuple[str, str], SigningKey] = {}

    @property
    def vault(self) -> Vault:
        """The private keys, for when the secret key changes."""
        return Vault("signing keys", self._box, _read_sealed, _replace_sealed)

    async def current(self, environment: str) -> SigningKey:
        """Raises NotFoundError when there is no such environment."""
        async with self._database.reading() as connection:
            kid = await connection.sql.scalar(
                select(environment_table.c.signing_kid).where(environment_table.c.key == environment)
            )
            if kid is None:
                raise NotFoundError(f"there is no environment {environment}")
            return await self.get(connection, environment, kid)

    async def unopenable(self) -> tuple[str, ...]:
        """The environments whose present key cannot be opened: nothing of theirs can be signed."""
        found: list[str] = []
        async with self._database.reading() as connection:
            query = select(environment_table.c.key, environment_table.c.signing_kid).order_by(environment_table.c.key)
            for environment, kid in (await connection.execute(query)).all():
                try:
                    await self.get(connection, environment, kid)
                except (SecretKeyError, NoResultFound, ValueError):
                    found.append(environment)
        return tuple(found)

    async def probe(self) -> dict[str, str]:
        sealed = ", ".join(await self.unopenable())
        why = f"the signing key of {sealed} cannot be opened, so nothing can be committed: check BROWNOUT_SECRET_KEY"
        return {"signing_keys": why if sealed else ""}

    async def chain(self, environment: str) -> wire.KeyChain:
        """Every public key the environment has had, for SDKs that pinned an earlier one."""
        columns = signing_key.c
        query = (
            select(columns.kid, columns.public, columns.signed_by, columns.signature)
            .where(columns.environment == environment)
            .order_by(columns.position)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        links = tuple(wire.KeyLink(row.kid, public_text(row.public), row.signed_by, row.signature) for row in rows)
        return wire.KeyChain(1, environment, links)

    async def sign_with(self, connection: WriteConnection, environment: str, kid: str) -> None:
        """From this transaction on the environment's messages are signed with `kid`."""
        await connection.execute(
            update(environment_table).where(environment_table.c.key == environment).values(signing_kid=kid)
        )

    async def get(self, connection: ReadConnection, environment: str, kid: str) -> SigningKey:
        known = self._known.get((environment, kid))
        if known is None:
            query = select(signing_key.c.sealed).where(
                signing_key.c.environment == environment, signing_key.c.kid == kid
            )
            sealed = (await connection.execute(query)).scalar_one()
            raw = self._box.open(sealed, f"{environment}/{kid}")
            known = SigningKey(kid, Ed25519PrivateKey.from_private_bytes(raw))
            self._known[environment, kid] = known
        return known

    async def create(
        self, connection: WriteConnection, environment: str, at: datetime, *, by: SigningKey | None
    ) -> SigningKey:
        """Writes a new key; the caller points the environment at it in the same transaction."""
        key = SigningKey(token_hex(4), Ed25519PrivateKey.generate())
        vouched = by.sign("keys", environment, wire.link_payload(key.kid, public_text(key.public))) if by else ""
        position = select(func.count()).where(signing_key.c.environment == environment).scalar_subquery()
        await connection.execute(
            insert(signing_key).values(
                environment=environment,
                kid=key.kid,
                position=position,
                public=key.public,
                sealed=self._box.seal(key.private.private_bytes_raw(), f"{environment}/{key.kid}"),
                signed_by=by.kid if by else "",
                signature=vouched,
                created_at=at,
            )
        )
        return key


async def _read_sealed(connection: ReadConnection) -> list[Sealed]:
    columns = signing_key.c
    rows = await connection.execute(select(columns.environment, columns.kid, columns.sealed))
    return [Sealed((row.environment, row.kid), f"{row.environment}/{row.kid}", row.sealed) for row in rows]


async def _replace_sealed(connection: WriteConnection, old: Sealed, fresh: bytes) -> None:
    columns, (environment, kid) = signing_key.c, old.key
    this = (columns.environment == environment, columns.kid == kid, columns.sealed == old.sealed)
    await connection.execute(update(signing_key).where(*this).values(sealed=fresh))


def public_text(public: bytes) -> str:
    """A public key as wire.KeyLink carries it."""
    return urlsafe_b64encode(public).rstrip(b"=").decode()
