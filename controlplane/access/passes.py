"""Operator passes: proof, without a database, that someone may switch safe mode (docs/adr/0202).

A pass is made at sign-in and by `brownout login`. It names its holder, their credential, and the roles by which they may
switch safe mode, and it is authenticated by a key that every replica derives from BROWNOUT_SECRET_KEY. It opens nothing
while the database answers. Each replica keeps on its disk who holds which role and which credentials were ended.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Literal

import msgspec
from prometheus_client import Counter

from controlplane.access.actor import ANY_ENVIRONMENT, PERMISSIONS, Action, Actor, Role, allows
from controlplane.access.queries import passes as queries
from controlplane.access.queries.passes import Granted
from controlplane.errors import UnauthenticatedError
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database

LASTS = timedelta(days=7)
RENEW_AFTER = timedelta(days=1)
"""A pass of this age is replaced when its holder comes by."""

MAX_CHARS = 4_096
_PREFIX = "bo_pass_"
_REFUSED = "that operator pass does not hold: sign in again once the database is back"

SWITCHING = tuple(role for role in Role if Action.SAFE_MODE in PERMISSIONS[role])
"""The roles by which safe mode can be switched."""

REFUSED = Counter("brownout_operator_passes_refused_total", "Operator passes that did not hold.", ["reason"])


class Pass(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a pass says. Instants are Unix seconds."""

    kind: Literal["person", "token"]
    name: str
    person: str
    credential: str
    grants: dict[str, tuple[str, ...]]
    issued_at: int
    expires_at: int
    machine: bool = False
    networks: tuple[str, ...] = ()


class Holders(msgspec.Struct, frozen=True):
    """What a replica knows of those who may switch safe mode, as it last read it."""

    people: dict[str, dict[str, tuple[str, ...]]] = {}
    """Roles by environment, by person."""
    tokens: dict[str, dict[str, tuple[str, ...]]] = {}
    """The same for tokens that no person owns."""
    ended: frozenset[str] = frozenset()
    """Sessions and tokens that were ended, and tokens that expired, while a pass could name them."""
    read_at: int = 0
    """Unix seconds; 0: it never was."""


class Passes:
    def __init__(self, secret_keys: Sequence[str], clock: Clock, database: Database, confirmed_for: timedelta) -> None:
        """`secret_keys`: the one that makes passes, then those whose passes still count."""
        self._keys = tuple(sha256(b"brownout/operator-pass/1\0" + secret.encode()).digest() for secret in secret_keys)
        self._clock = clock
        self._database = database
        self._confirmed_for = confirmed_for
        self.holders = Holders()

    def issue(self, actor: Actor) -> str | None:
        """A pass for the actor; None if they may switch safe mode nowhere, or in more environments than a cookie holds."""
        grants = {
            environment: tuple(sorted(role.value for role in roles if role in SWITCHING))
            for environment, roles in actor.grants.items()
        }
        grants = {environment: roles for environment, roles in grants.items() if roles}
        if not grants or actor.kind not in {"person", "token"} or actor.stage:
            return None
        now = self._now()
        said = Pass(
            "person" if actor.kind == "person" else "token", actor.name, actor.person, actor.credential, grants,
            now, now + int(LASTS.total_seconds()), actor.machine, actor.networks,
        )  # fmt: skip
        payload = _encoded(msgspec.json.encode(said))
        text = f"{_PREFIX}{payload}.{_encoded(_mac(self._keys[0], payload))}"
        return text if len(text) <= MAX_CHARS else None

    def open(self, text: str) -> Actor:
        """Whose pass this is, with the roles that they still hold as far as this replica knows, where those and the pass
        allow safe mode. For `as_operator`, once the rules for addresses have taken what does not count from there.

        Raises:
            UnauthenticatedError: forged, damaged, expired, or its holder or credential is no longer in order.
        """
        said = self._read(text)
        holders = self.holders
        if said.credential in holders.ended:
            raise _refused("ended")
        held = (
            holders.tokens.get(said.credential) if said.machine or not said.person else holders.people.get(said.person)
        )
        if held is None:
            raise _refused("holder")
        held_roles, said_roles = _roles(held), _roles(said.grants)
        maker = _roles(holders.people.get(said.person, {})) if said.machine and said.person else held_roles
        grants = {
            environment: held_roles.get(environment, frozenset()) | held_roles.get(ANY_ENVIRONMENT, frozenset())
            for environment in {*held_roles, *said_roles}
            if all(allows(roles, Action.SAFE_MODE, environment) for roles in (held_roles, said_roles, maker))
        }
        if not grants:
            raise _refused("role")
        return Actor(
            said.kind, said.name, grants, person=said.person, credential=said.credential, machine=said.machine,
            networks=said.networks,
        )  # fmt: skip

    def is_due(self, text: str) -> bool:
        """Whether the holder of this pass needs a new one: it is old, or none of ours."""
        try:
            return self._now() - self._read(text, count=False).issued_at >= RENEW_AFTER.total_seconds()
        except UnauthenticatedError:
            return True

    async def read_holders(self) -> Holders:
        """What Postgres says now. Raises UnavailableError."""
        now = self._clock.now()
        async with self._database.reading() as connection:
            granted = await queries.granted(connection, [role.value for role in SWITCHING], now - self._confirmed_for)
            tokens = await queries.machine_tokens(connection, now)
            ended = await queries.ended(connection, now - LASTS - timedelta(days=1), now)
        return Holders(
            _by_person(granted),
            {token: found for token, grants in tokens.items() if (found := _readable(grants))},
            ended,
            int(now.timestamp()),
        )

    def _read(self, text: str, *, count: bool = True) -> Pass:
        payload, separator, mac = text.removeprefix(_PREFIX).partition(".")
        reason = ""
        if len(text) > MAX_CHARS or not text.startswith(_PREFIX) or not separator or not text.isascii():
            reason = "malformed"
        elif not any(hmac.compare_digest(_encoded(_mac(key, payload)), mac) for key in self._keys):
            reason = "forged"
        else:
            said = _decoded(payload)
            if said is not None and said.issued_at - 300 <= self._now() < said.expires_at:
                return said
            reason = "expired" if said else "malformed"
        if count:
            REFUSED.labels(reason).inc()
        raise UnauthenticatedError(_REFUSED)

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


def as_operator(actor: Actor) -> Actor:
    """What a pass is good for: switching safe mode, where the actor's roles allow it, and nothing else."""
    grants = {
        environment: frozenset({Role.OPERATOR})
        for environment, roles in actor.grants.items()
        if any(Action.SAFE_MODE in PERMISSIONS[role] for role in roles)
    }
    return msgspec.structs.replace(actor, grants=grants)


def _refused(reason: str) -> UnauthenticatedError:
    REFUSED.labels(reason).inc()
    return UnauthenticatedError(_REFUSED)


def _decoded(payload: str) -> Pass | None:
    """None when another version wrote it in a way that this one cannot read."""
    try:
        return msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=Pass)
    except (msgspec.MsgspecError, ValueError):
        return None


def _mac(key: bytes, payload: str) -> bytes:
    return hmac.new(key, payload.encode(), sha256).digest()


def _encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _roles(grants: Mapping[str, Iterable[str]]) -> dict[str, frozenset[Role]]:
    return {
        environment: frozenset(role for role in SWITCHING if role.value in set(roles))
        for environment, roles in grants.items()
    }


def _by_person(granted: Iterable[Granted]) -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for row in granted:
        roles = found.setdefault(row.holder, {})
        roles[row.environment] = (*roles.get(row.environment, ()), row.role)
    return found


def _readable(grants: object) -> dict[str, tuple[str, ...]]:
    """Whatever version wrote them: the roles by which safe mode can be switched."""
    if not isinstance(grants, dict):
        return {}
    known = {role.value for role in SWITCHING}
    read = {
        str(environment): tuple(role for role in roles if role in known)
        for environment, roles in grants.items()
        if isinstance(roles, list | tuple)
    }
    return {environment: roles for environment, roles in read.items() if roles}
