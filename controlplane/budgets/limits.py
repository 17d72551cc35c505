"""The windows of an environment's token budgets, read from configuration that any version may have written."""

import math
from collections import OrderedDict
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from brownout.model.values import Window
from brownout.wire import UNREADABLE
from controlplane.configuration.store import Store
from controlplane.errors import UnavailableError
from controlplane.kit.clock import Monotonic, monotonic
from controlplane.kit.tasks import give_up_after

MOST_FLAGS = 10_000
LOOK_S = 5.0
"""How long a flag is taken to be as it was: news of commits come sooner."""
READ_S = 0.5
"""How long Postgres may take to read a flag. Instances give up after two seconds."""
AWAY_S = 1.0
"""How long no flag is read after Postgres did not answer: a message can name a hundred flags."""
BUDGET = "token_budget"
PAGE = 500
UNREAD = "Postgres does not answer: budget windows cannot be read"


class _Window(msgspec.Struct):
    """What a window is for us. A newer version may say more, but not less."""

    unit: Literal["tokens", "requests", "usd_micros"]
    limit: Annotated[int, Meta(ge=1, le=2**53)]
    per: Literal["minute", "hour", "day", "month"]
    scope: tuple[str, ...] = ()


class _Value(msgspec.Struct):
    window: _Window | None = None


class _Flag(msgspec.Struct):
    type: str
    variants: dict[str, msgspec.Raw] = {}


Windows = dict[str, Window]
"""By the variant of a flag."""


def windows_of(spec: bytes) -> Windows:
    """The windows of a flag's variants, without those that this version cannot read; none if it is no token budget."""
    try:
        flag = msgspec.json.decode(spec, type=_Flag)
    except UNREADABLE:
        return {}
    if flag.type != BUDGET:
        return {}
    found: Windows = {}
    for name, raw in flag.variants.items():
        try:
            window = msgspec.json.decode(raw, type=_Value).window
        except UNREADABLE:
            continue
        if window is not None:
            found[name] = Window(window.unit, window.limit, window.per, window.scope)
    return found


class Limits:
    """Cached until a commit changes the environment, and beyond that while Postgres does not answer."""

    def __init__(self, store: Store, *, monotonic: Monotonic = monotonic) -> None:
        self._store, self._monotonic = store, monotonic
        self._kept: OrderedDict[tuple[str, str], tuple[float, Windows]] = OrderedDict()
        """When each flag was read, and its windows."""
        self._away_until = -math.inf

    def changed(self, environment: str) -> None:
        """There was a commit. Every flag is read again, and kept as it was in case it cannot be read."""
        for key, (_, windows) in self._kept.items():
            if key[0] == environment:
                self._kept[key] = (-math.inf, windows)
        self._away_until = -math.inf

    async def of_flag(self, environment: str, flag: str) -> Windows:
        """The windows of one flag by variant; none if there is no such flag.

        Raises:
            UnavailableError: Postgres does not answer in time, and the flag was not read before.
        """
        kept, now = self._kept.get((environment, flag)), self._monotonic()
        if kept is not None and now - kept[0] < LOOK_S:
            return kept[1]
        windows = None if now < self._away_until else await self._read(environment, flag)
        if windows is None:
            if kept is None:
                raise UnavailableError(UNREAD)
            return kept[1]
        self._kept[environment, flag] = (now, windows)
        self._kept.move_to_end((environment, flag))
        while len(self._kept) > MOST_FLAGS:
            self._kept.popitem(last=False)
        return windows

    async def _read(self, environment: str, flag: str) -> Windows | None:
        """None if Postgres does not answer in time."""
        try:
            found = await give_up_after(self._store.find_resource(environment, "flag", flag), READ_S)
        except (UnavailableError, TimeoutError):
            self._away_until = self._monotonic() + AWAY_S
            return None
        return windows_of(found.spec) if found is not None else {}

    async def all(self, environment: str) -> dict[str, Windows]:
        """By flag, those that have any."""
        found: dict[str, Windows] = {}
        after: str | None = ""
        while after is not None:
            page = await self._store.list_resources(environment, "flag", type=BUDGET, after=after, limit=PAGE)
            found |= {each.key: windows for each in page.items if (windows := windows_of(each.spec))}
            after = page.next
        return found
