"""What one process may spend of windows that it shares with its fleet, and what it has spent. Pure: time is passed in.

An instance spends from leases, which the control plane grants in the background (ADR 0125). No request waits for one.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import msgspec

from brownout.model.values import Window
from brownout.wire.leases import MOST, MOST_ASKS, Ask, Grant, period

UNKNOWN_FLEET = 20
"""The instances that share a window while the fleet's size is unknown."""

START_SHARE = 4
"""A combination that no one has answered for yet starts on the limit, divided by so many times the fleet's size."""

MOST_WINDOWS = 10_000
LEASE_S = 10.0
"""A lease should last so long."""
AGAIN_S = 1.0
"""When an instance asks again that got less than it needs."""
QUIET_S = 30.0
"""The longest time between two asks for a window that answers leave out."""
LOOK_S = 5.0
"""How old the fleet's remainder may be while the window is in use."""
LOOKED_AT = 1_000
"""Windows that are looked at for one request."""
LEASED_REQUESTS = 4
"""A lease is worth so many requests at least."""


def whole(count: object) -> int:
    """Returns a count that a service or a provider reported as an int from 0 to MOST; 0 if it is no finite number.

    Services report NumPy integers, decimals and what they computed wrongly. An ask carries int64 only, and one count that
    does not fit would stop the leases of every window in the process.
    """
    try:
        if count in (math.inf, -math.inf):
            return 0
        return int(max(0, min(count, MOST)))  # type: ignore[call-overload]
    except (TypeError, ValueError, ArithmeticError):
        return 0


class Key(NamedTuple):
    """`scope` is the hash of the attributes that separate the counts. Amounts of another unit or period are another
    window's: a commit can change them while requests run under the policy that they began with."""

    flag: str
    variant: str
    scope: bytes
    unit: str
    per: str

    @property
    def place(self) -> tuple[str, str, bytes]:
        """As grants name it."""
        return self[:3]


class Reservation(NamedTuple):
    """An amount that a request may spend. It is settled once."""

    key: Key
    start: int
    amount: int


class Fill(msgspec.Struct, frozen=True):
    """How a window stands, as far as this instance knows."""

    used_bp: int
    """What the fleet has spent of the limit, in basis points; more than 10,000 when it spent more."""
    available: int
    """What this instance may still spend without another lease."""
    resets_at: int
    """Unix s at which the next period begins."""
    exceeded: bool
    """Whether nothing is available."""
    degraded: bool
    """Whether no one answers: the instance spends its share of what it last knew to be left."""


class _Entry:
    """One window in its present period."""

    def __init__(self, window: Window, now: float) -> None:
        self.window = window
        self.known = False
        """Whether this or an earlier period was answered for."""
        self.need = 0
        """The size of a large request of late."""
        self.left_out = 0
        """Answers in a row without a grant for it: the service does not have such a window, or no longer."""
        self._begin(now)

    def _begin(self, now: float) -> None:
        self.start, self.end = period(self.window.per, now)
        self.granted = self.spent = self.reserved = 0
        """`granted` also counts what the service charged: it is what the fleet's counter holds for this instance."""
        self.left = self.window.limit
        self.lease = 0
        """The last one."""
        self.heard = False
        self.asked = 0
        """The number of the request that is not answered yet."""
        self.ask_at = 0.0
        self.seen_at = 0.0
        self.short = False
        """Whether a request was refused since the last answer."""
        self.demand, self.since = 0, now

    def roll(self, window: Window, now: float) -> None:
        self.left += window.limit - self.window.limit
        if self.left < 0:  # the limit fell below what was leased: what is not spent yet must be asked for again
            self.granted = min(self.granted, self.spent + self.reserved)
        self.window = window
        if now >= self.end:
            self.known = self.known or self.heard
            self._begin(now)

    def advance(self, start: int, now: float) -> None:
        """The service is in a later period than our clock."""
        self.known = self.known or self.heard
        self._begin(now)
        self.start, self.end = period(self.window.per, start)

    def free(self, fleet: int, away: bool) -> int:
        return self.granted + self._unleased(fleet, away) - self.spent - self.reserved

    def _unleased(self, fleet: int, away: bool) -> int:
        """What may be spent without a lease: the start of a new combination, or a share of what was last left."""
        if self.heard:
            # since we were told of it, each of the others may have been granted as much again as we were
            return max(0, self.left - (fleet - 1) * self.lease) // fleet if away else 0
        return self.window.limit // (fleet if away and self.known else START_SHARE * fleet)

    @property
    def debt(self) -> int:
        return max(0, self.spent + self.reserved - self.granted)


class Ledger:
    """One process's windows. Not safe for threads: `Windows` locks around it."""

    def __init__(self, most: int = MOST_WINDOWS) -> None:
        self.away = True
        """Whether the service does not answer."""
        self.fleet: int | None = None
        self._most = most
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._touched: dict[Key, None] = {}
        """Windows that something may have to be asked of, the longest waiting first."""
        self._number = 0
        self._pending: dict[int, tuple[Key, ...]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def fill(self, key: Key, window: Window, now: float) -> Fill:
        """How the window stands now."""
        entry = self._entry(key, window, now)
        free = entry.free(self._share, self.away)
        # what this instance spent beyond its leases is not in the fleet's count yet
        used = window.limit - entry.left + (entry.debt if entry.heard else entry.spent + entry.reserved)
        exceeded = free <= 0 and not self._is_first(entry)
        return Fill(whole(used * 10_000 // window.limit), whole(free), entry.end, exceeded, self.away)

    def reserve(self, key: Key, window: Window, amount: int, now: float, *, force: bool = False) -> Reservation | None:
        """Takes `amount` from what this instance may spend; None if there is not so much.

        The first request of a combination that no one has answered for is always admitted, if the limit covers it.

        Args:
            force: Take it all the same: the policy only warns.
        """
        entry, amount = self._entry(key, window, now), whole(amount)
        entry.need = max(amount, entry.need - entry.need // 8)
        entry.demand += amount
        first = self._is_first(entry) and amount <= window.limit
        if not (force or first or amount <= entry.free(self._share, self.away)):
            entry.short = True
            return None
        entry.reserved += amount
        return Reservation(key, entry.start, amount)

    def settle(self, reservation: Reservation, used: int) -> None:
        """Spends `used` of a reservation and gives the rest back. It may be more than was reserved."""
        entry = self._entries.get(reservation.key)
        if entry is not None and entry.start == reservation.start:
            entry.reserved -= reservation.amount
            entry.spent += whole(used)
            self._touched[reservation.key] = None

    def spend(self, key: Key, window: Window, amount: int, now: float) -> None:
        """Spends what was not reserved: a service made the call by itself."""
        entry, amount = self._entry(key, window, now), whole(amount)
        entry.need = max(amount, entry.need - entry.need // 8)
        entry.demand += amount
        entry.spent += amount

    # For the service

    def ask(self, now: float) -> tuple[int, list[Ask]]:
        """Returns a request's number and what to ask for now; nothing if all is well. `answered` or `unanswered` follows."""
        asks: list[Ask] = []
        keys: list[Key] = []
        places: set[tuple[str, str, bytes]] = set()
        for key in list(islice(self._touched, LOOKED_AT)):
            entry = self._entries.get(key)
            del self._touched[key]
            if entry is None or now >= entry.end:
                continue
            waits = bool(entry.asked) or now < entry.ask_at or key.place in places
            ask = None if waits or len(asks) >= MOST_ASKS else self._ask_of(key, entry, now)
            if ask is not None:
                asks.append(ask)
                keys.append(key)
                places.add(key.place)  # once in a message: a grant does not say the unit
            elif waits or len(asks) >= MOST_ASKS:
                self._touched[key] = None  # to the end of the line
        for key in keys:
            self._touched[key] = None  # behind those that still wait
        if not asks:
            return 0, []
        self._number += 1
        for key in keys:
            self._entries[key].asked = self._number
        self._pending[self._number] = tuple(keys)
        return self._number, asks

    def answered(self, number: int, grants: Iterable[Grant], now: float) -> None:
        """Takes an answer, once."""
        keys = self._pending.pop(number, ())
        if not keys:
            return
        self.away = False
        self._asked_again(keys, number, now)
        asked = {key.place: key for key in keys}
        for grant in grants:
            key = asked.get((grant.flag, grant.variant, grant.scope))
            entry = self._entries.get(key) if key is not None else None
            if entry is not None and key is not None:
                self._take(entry, grant, now)
                asked.pop(key.place)
        for key in asked.values():
            entry = self._entries.get(key)
            if entry is not None:
                entry.ask_at = now + min(AGAIN_S * 2**entry.left_out, QUIET_S)
                entry.left_out = min(entry.left_out + 1, 10)

    def unanswered(self, number: int, now: float) -> None:
        """No one answered: the fleet's service is away."""
        self._asked_again(self._pending.pop(number, ()), number, now)
        self.away = True

    def lost(self, now: float) -> None:
        """The connection is gone, and with it every answer that was still to come."""
        for number in list(self._pending):
            self.unanswered(number, now)
        self.away = True

    def is_waiting(self) -> bool:
        """Whether there may be something to ask for, now or later."""
        return bool(self._touched)

    def presses(self, key: Key, now: float) -> bool:
        """Whether a window should be asked for at once."""
        entry = self._entries.get(key)
        if entry is None or entry.asked or now < entry.ask_at:
            return False
        return entry.short or entry.granted - entry.spent - entry.reserved < max(2 * entry.need, 1)

    def _asked_again(self, keys: Iterable[Key], number: int, now: float) -> None:
        for key in keys:
            entry = self._entries.get(key)
            if entry is not None and entry.asked == number:
                entry.asked = 0
                entry.ask_at = now + AGAIN_S

    def _take(self, entry: _Entry, grant: Grant, now: float) -> None:
        entry.left_out = 0
        if grant.start < entry.start:
            return  # of a period that is over
        if grant.start > entry.start:
            entry.advance(grant.start, now)
        entry.heard, entry.short = True, False
        entry.left, entry.seen_at = grant.left, now
        entry.granted += grant.granted + grant.charged
        entry.demand, entry.since = entry.demand // 2, now - (now - entry.since) / 2
        if grant.granted > 0:
            entry.ask_at = 0.0
            entry.lease = grant.granted

    def _ask_of(self, key: Key, entry: _Entry, now: float) -> Ask | None:
        debt = entry.debt
        wanted = self._wanted(entry, now)
        free = max(0, entry.granted - entry.spent - entry.reserved)
        low = entry.short or free < max(2 * entry.need, wanted // 2, 1)
        spending = entry.demand > 0 or not entry.heard
        look = entry.heard and now - entry.seen_at > LOOK_S and entry.demand > 0
        if not ((low and spending) or debt or look):
            return None
        want = max(0, wanted - free) if low else 0
        need = max(0, min(entry.need, wanted) - free) if low else 0
        debt, need, want = whole(debt), whole(need), whole(want)
        return Ask(
            key.flag, key.variant, key.scope, entry.start, debt, need, want, self.away and debt > 0, key.unit, key.per
        )

    def _wanted(self, entry: _Entry, now: float) -> int:
        """A lease that lasts: by the rate of late, by an even pace through the period, and for some requests."""
        elapsed = max(now - entry.since, 1.0)
        pace = entry.window.limit / (entry.end - entry.start) / self._share
        wanted = max(LEASED_REQUESTS * entry.need, entry.demand / elapsed * LEASE_S, pace * LEASE_S, 1.0)
        return min(int(wanted), entry.window.limit)

    # Inside

    @property
    def _share(self) -> int:
        return max(1, UNKNOWN_FLEET if self.fleet is None else self.fleet)

    @staticmethod
    def _is_first(entry: _Entry) -> bool:
        return not entry.heard and entry.spent + entry.reserved == 0

    def _entry(self, key: Key, window: Window, now: float) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self._most:
                idle, _ = self._entries.popitem(last=False)  # the one that was not used for the longest time
                self._touched.pop(idle, None)
            entry = self._entries[key] = _Entry(window, now)
        else:
            self._entries.move_to_end(key)
            entry.roll(window, now)
        self._touched[key] = None
        return entry
