"""Where people and tokens may come from (ADR 0069): a setting for everything, and stored rules for roles.

A rule for a role takes that role away elsewhere, nothing more: who comes from another address keeps what their other
roles allow. SDK keys are not people: services run where they run.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from controlplane.access.actor import ANY_ENVIRONMENT, GRANTABLE, Action, Actor, Role, authorize
from controlplane.access.audit import Audit
from controlplane.access.memory import REMEMBERED_S, ActorMemory
from controlplane.access.queries import addresses as queries
from controlplane.access.values import AddressRow, Event
from controlplane.errors import (
    AddressNotAllowedError,
    ConflictError,
    Fault,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from controlplane.kit.addresses import Network, parse_networks
from controlplane.kit.clock import Clock, Monotonic, monotonic
from controlplane.kit.database import Database, WriteConnection

EVERY_ROLE = "*"
MOST_NETWORKS = 200
NOTE_EVERY_S = 60.0
_REMEMBERED = 10_000


class _Known(msgspec.Struct, frozen=True):
    rules: tuple[tuple[str, str, tuple[Network, ...]], ...] = ()
    environments: tuple[str, ...] = ()


class AddressRules:
    def __init__(
        self,
        database: Database,
        clock: Clock,
        audit: Audit,
        memory: ActorMemory,
        everywhere: Sequence[Network],
        *,
        monotonic: Monotonic = monotonic,
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._clock = clock
        self._audit = audit
        self._memory = memory
        self._everywhere = tuple(everywhere)
        self._known = _Known()
        self._known_until: float | None = None
        self._was_read = False
        self._noted: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def admit(self, actor: Actor) -> Actor:
        """The actor with the roles that count from where they are.

        Raises:
            AddressNotAllowedError: nothing counts from there.
        """
        if actor.kind not in {"person", "token"}:
            return actor
        if actor.networks and not within(actor.address, _networks(actor.networks)):
            await self._note(actor)
            raise AddressNotAllowedError("this token does not work from your address")
        try:
            await self.check(actor.address)
        except AddressNotAllowedError:
            await self._note(actor)
            raise
        return _within_rules(actor, await self._rules())

    def admit_offline(self, actor: Actor) -> Actor:
        """The same by what was read last, for when the database does not answer.

        Raises:
            AddressNotAllowedError: nothing counts from there.
            UnavailableError: no rule was ever read, so it is unknown what counts.
        """
        if not self._was_read:
            raise UnavailableError(
                "the database does not answer, and this replica has not read the rules for addresses"
            )
        if actor.networks and not within(actor.address, _networks(actor.networks)):
            raise AddressNotAllowedError("this credential does not work from your address")
        self._check(actor.address, self._known)
        return _within_rules(actor, self._known)

    async def refresh(self) -> None:
        """Reads the rules unless they are fresh. Raises UnavailableError."""
        await self._rules()

    async def check(self, address: str) -> None:
        """For who is nobody yet. Raises AddressNotAllowedError when nobody may come from there."""
        self._check(address, await self._rules())

    def _check(self, address: str, known: _Known) -> None:
        stored = [allowed for where, role, allowed in known.rules if (where, role) == (ANY_ENVIRONMENT, EVERY_ROLE)]
        lists = [*([self._everywhere] if self._everywhere else []), *stored]
        if not all(within(address, allowed) for allowed in lists):
            raise AddressNotAllowedError("your address is not in an allowed network")

    async def list_rules(self, actor: Actor) -> list[AddressRow]:
        authorize(actor, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)
        async with self._database.reading() as connection:
            return await queries.rules(connection)

    async def set_rule(
        self, actor: Actor, environment: str, role: str, networks: Iterable[str], *, force: bool = False
    ) -> AddressRow:
        """Raises ConflictError when the actor's own address is not in the list, unless `force`."""
        authorize(actor, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)
        clean = checked_networks(networks)
        if not clean:
            raise _invalid("networks", "name at least one network; delete the rule to allow every address")
        if role != EVERY_ROLE and role not in GRANTABLE:
            raise _invalid("role", f"one of {EVERY_ROLE}, {', '.join(GRANTABLE)}")
        if not force and not within(actor.address, _networks(clean)):
            here = actor.address or "your address"
            raise ConflictError(f"{here} is not in that list: you would lock yourself out; add it, or force it")
        row = AddressRow(environment, role, clean, actor.name, self._clock.now())
        async with self._database.transaction() as connection:
            if environment != ANY_ENVIRONMENT and environment not in await queries.environments(connection):
                raise NotFoundError(f"there is no environment {environment}")
            await queries.put(connection, row)
            await self._told(connection, actor, environment, role, ", ".join(clean))
        self._forget()
        return row

    async def delete_rule(self, actor: Actor, environment: str, role: str) -> None:
        authorize(actor, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)
        async with self._database.transaction() as connection:
            if not await queries.delete(connection, environment, role):
                raise NotFoundError("there is no such rule")
            await self._told(connection, actor, environment, role, "anywhere")
        self._forget()

    async def clear(self, actor: Actor) -> int:
        """Deletes every stored rule; returns how many: for those who have locked themselves out."""
        authorize(actor, Action.MANAGE_PEOPLE, ANY_ENVIRONMENT)
        async with self._database.transaction() as connection:
            number = await queries.clear(connection)
            await self._told(connection, actor, ANY_ENVIRONMENT, EVERY_ROLE, "anywhere")
        self._forget()
        return number

    async def _note(self, actor: Actor) -> None:
        """On record once a minute for each credential and address: a good credential shows up where it must not."""
        now, key = self._monotonic(), (actor.credential, actor.address)
        if key in self._noted and now - self._noted[key] < NOTE_EVERY_S:
            return
        self._noted[key] = now
        self._noted.move_to_end(key)
        if len(self._noted) > _REMEMBERED:
            self._noted.popitem(last=False)
        await self._audit.note(Event.DENIED, actor, target="address", reason="not from this address", outcome="refused")

    async def _told(
        self, connection: WriteConnection, actor: Actor, environment: str, role: str, networks: str
    ) -> None:
        await self._audit.record(
            connection, Event.ADDRESSES_CHANGED, actor, environment=environment, target=role,
            detail={"networks": networks[:1000], "where": environment},
        )  # fmt: skip

    async def _rules(self) -> _Known:
        now = self._monotonic()
        if self._known_until is None or self._known_until <= now:
            async with self._database.reading() as connection:
                rows = await queries.rules(connection)
                keys = await queries.environments(connection) if rows else []
            rules = tuple((row.environment, row.role, _networks(row.networks)) for row in rows)
            self._known, self._known_until, self._was_read = _Known(rules, tuple(keys)), now + REMEMBERED_S, True
        return self._known

    def _forget(self) -> None:
        self._known_until = None
        self._memory.forget()


def _within_rules(actor: Actor, known: _Known) -> Actor:
    """The actor with the roles that count from their address."""
    barred = [(where, role) for where, role, allowed in known.rules if not within(actor.address, allowed)]
    if not barred or not actor.grants:
        return actor
    return msgspec.structs.replace(actor, grants=narrowed(actor.grants, barred, known.environments))


def narrowed(
    grants: Mapping[str, frozenset[Role]], barred: Iterable[tuple[str, str]], environments: Iterable[str]
) -> dict[str, frozenset[Role]]:
    """`grants` without what is barred. A role that is held everywhere and barred somewhere is held in the other
    environments, and no longer for what belongs to none."""
    left = {where: set(roles) for where, roles in grants.items()}
    keys = tuple(environments)
    for where, barred_role in barred:
        gone = set(GRANTABLE) if barred_role == EVERY_ROLE else {Role(barred_role)}
        if where == ANY_ENVIRONMENT:
            for roles in left.values():
                roles -= gone
            continue
        everywhere = left.get(ANY_ENVIRONMENT, set()) & gone
        if everywhere:
            left[ANY_ENVIRONMENT] -= everywhere
            for key in keys:
                left.setdefault(key, set()).update(everywhere)
        left.get(where, set()).difference_update(gone)
    return {where: frozenset(roles) for where, roles in left.items() if roles}


def within(address: str, networks: Sequence[Network]) -> bool:
    """Whether `address` is in one of them; an IPv4 address that is written as IPv6 is that IPv4 address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)


def checked_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """In their normal form. Raises InvalidInputError, naming the wrong one."""
    found: list[str] = []
    for text in texts:
        try:
            found.extend(str(network) for network in parse_networks(text))
        except ValueError as error:
            raise _invalid("networks", str(error)) from None
    if len(found) > MOST_NETWORKS:
        raise _invalid("networks", f"at most {MOST_NETWORKS} networks")
    return tuple(dict.fromkeys(found))


def checked_within(networks: tuple[str, ...], outer: tuple[str, ...]) -> tuple[str, ...]:
    """`networks`, unless one of them reaches beyond `outer`. Raises InvalidInputError."""
    around = _networks(outer)
    for network in _networks(networks):
        if not any(network.version == one.version and network.subnet_of(one) for one in around):  # type: ignore[arg-type]
            raise _invalid("networks", f"{network} reaches beyond where the token works that makes it")
    return networks


def _networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(network for text in texts for network in parse_networks(text))


def _invalid(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(message, (Fault("invalid_value", message, f"/{field}"),))
