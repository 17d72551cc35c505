"""What stands around every page: sections, environment, safe mode, fleet, person."""

from datetime import datetime
from typing import Literal

import msgspec

Tone = Literal["", "degraded", "broken"]
"""Colour means deviation, and only that."""


class EnvironmentLink(msgspec.Struct, frozen=True):
    key: str
    name: str
    production: bool
    """Carries the coloured edge, and asks for its name before something big."""
    revision: int
    href: str


class NavItem(msgspec.Struct, frozen=True):
    label: str
    href: str
    key: str = ""
    """What its count is called on the page, where the count is live."""
    count: str = ""
    tone: Tone = ""
    current: bool = False


class SafeState(msgspec.Struct, frozen=True):
    """Safe mode while it is on: the chip and the banner."""

    title: str
    """The profile, or `2 activations`."""
    scope: str
    actor: str
    href: str
    expires_at: datetime | None
    overdue: bool


class FleetState(msgspec.Struct, frozen=True):
    live: int
    current: int
    """How many of the live ones have the head revision."""
    href: str
    failing: int = 0
    """Checks of the control plane that fail (docs/operations.md)."""
    unheard: str = ""
    """Where the channels are that take no notifications; empty while all of them work."""

    @property
    def behind(self) -> bool:
        return self.current < self.live


class Link(msgspec.Struct, frozen=True):
    label: str
    href: str


class Person(msgspec.Struct, frozen=True):
    name: str
    initials: str
    roles: str
    links: tuple[Link, ...] = ()
    signs_out: bool = False


class Notice(msgspec.Struct, frozen=True):
    """What just happened, on top of the page: saved, refused, lifted."""

    title: str
    detail: str = ""
    tone: Tone = ""
    href: str = ""
    action: str = ""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    environment: EnvironmentLink
    environments: tuple[EnvironmentLink, ...]
    nav: tuple[tuple[NavItem, ...], ...]
    safe: SafeState | None
    safe_url: str
    fleet: FleetState
    person: Person
    now: datetime
    csrf: str
    home: str
    palette_url: str
    live_url: str = ""
    """The event stream of this page, and behind the # whose tabs share it; empty = nothing on it is live."""
    gallery: bool = False
    notices: tuple[Notice, ...] = ()
