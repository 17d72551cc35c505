"""What every page of access shares: its tabs, and how a secret is shown once."""

import msgspec

from controlplane.access.actor import Action
from controlplane.web.kit.framing import url
from controlplane.web.kit.visit import Visit


class Tab(msgspec.Struct, frozen=True):
    label: str
    href: str
    current: bool


class Shown(msgspec.Struct, frozen=True):
    """A secret, once: what it is, what it opens, what to do with it."""

    title: str
    secret: str
    advice: str


TABS = (
    ("people", "People", Action.MANAGE_PEOPLE),
    ("keys", "SDK keys", Action.MANAGE_KEYS),
    ("tokens", "API tokens", None),
    ("sessions", "Sessions", None),
    ("approvals", "Approvals", Action.READ),
    ("audit", "Audit", Action.READ_AUDIT),
)
"""Path, label and what it needs; None: everybody has their own."""


def tabs(visit: Visit, environment: str, here: str) -> tuple[Tab, ...]:
    return tuple(
        Tab(label, url(environment, "access", path), path == here)
        for path, label, action in TABS
        if action is None or visit.may(action, environment)
    )
