"""Limits that slow an attacker down and cannot be used to lock anybody out.

A failed sign-in delays the next one *for that account from that address*, at most a minute. No number of failures from
elsewhere touches the account's owner, and a device that has signed in before has a count of its own.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable

from controlplane.errors import RateLimitedError
from controlplane.kit.addresses import network
from controlplane.kit.clock import Monotonic

_FREE_TRIES = 5
_MAX_DELAY_S = 60.0
_FORGET_S = 3600.0
_REMEMBERED = 100_000
"""Entries kept at most, least recently used first out: memory is no target either."""


class Rate:
    """A generic cell rate algorithm (GCRA, ITU-T I.371): `per_s` on average, `burst` at once, for each key."""

    def __init__(self, monotonic: Monotonic, *, per_s: float, burst: int) -> None:
        self._monotonic = monotonic
        self._step = 1 / per_s
        self._slack = self._step * (burst - 1)
        self._due: OrderedDict[Hashable, float] = OrderedDict()

    def wait_s(self, key: Hashable) -> float:
        """Takes one and returns 0, or takes nothing and returns how long until there is one."""
        now = self._monotonic()
        due = max(self._due.get(key, 0.0), now)
        if due - now > self._slack:
            return due - now - self._slack
        self._due[key] = due + self._step
        self._due.move_to_end(key)
        if len(self._due) > _REMEMBERED:
            self._due.popitem(last=False)
        return 0.0

    def take(self, key: Hashable) -> None:
        """Raises RateLimitedError when there is none left."""
        wait = self.wait_s(key)
        if wait > 0:
            raise _refusal("too many requests", wait)


class LoginThrottle:
    """Asked before a password is checked, and told when it was right.

    An attempt counts as failed from the moment it begins: checking takes long, and others may begin meanwhile.
    """

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._addresses = Rate(monotonic, per_s=1, burst=30)

    def begin(self, account: str, address: str, device: str) -> None:
        """Takes one attempt. `device`: the digest of a known device's cookie, or empty.

        Raises:
            RateLimitedError: wait before trying again.
        """
        key, now = _key(account, address, device), self._monotonic()
        count, last = self._failures.get(key, (0, now))
        wait = last + _delay_s(count) - now
        if not device and wait <= 0:
            wait = self._addresses.wait_s(network(address))
        if wait > 0:
            raise _refusal("too many attempts from here", wait)
        self._failures[key] = (1 if now - last > _FORGET_S else count + 1, now)
        self._failures.move_to_end(key)
        if len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, account: str, address: str, device: str) -> None:
        self._failures.pop(_key(account, address, device), None)


def _key(account: str, address: str, device: str) -> tuple[str, str]:
    return account, device or network(address)


def _delay_s(failures: int) -> float:
    return 0.0 if failures < _FREE_TRIES else min(2.0 ** (failures - _FREE_TRIES), _MAX_DELAY_S)


def _refusal(why: str, wait_s: float) -> RateLimitedError:
    whole = math.ceil(wait_s)
    return RateLimitedError(f"{why}; try again in {whole} second{'s' if whole > 1 else ''}", whole)


class RequestRates:
    """How fast the API may be asked, in this replica: generous for people and pipelines, tight for guessing."""

    def __init__(self, monotonic: Monotonic, *, per_principal_s: float, per_address_s: float) -> None:
        self._principals = Rate(monotonic, per_s=per_principal_s, burst=int(per_principal_s * 4))
        self._addresses = Rate(monotonic, per_s=per_address_s, burst=int(per_address_s * 4))
        self._failures = Rate(monotonic, per_s=1, burst=50)

    def by_address(self, address: str) -> None:
        self._addresses.take(network(address))

    def by_principal(self, principal: str) -> None:
        self._principals.take(principal)

    def failed(self, address: str) -> None:
        """Counts a credential that did not hold."""
        self._failures.take(network(address))
