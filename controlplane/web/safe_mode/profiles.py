"""Safe-mode profiles as cards: what each does, in plain words."""

import msgspec

from brownout.model.resources import SafeModeProfile
from controlplane.access.actor import Action
from controlplane.contract.specs import find_spec
from controlplane.web.kit.framing import url
from controlplane.web.kit.visit import Viewer
from controlplane.web.safe_mode.words import profile_words

FIRST = ("contain", "strict")
"""Preselected when there is one of that name: what most incidents need."""


class ProfileCard(msgspec.Struct, frozen=True):
    key: str
    title: str
    does: str
    description: str
    banner: str
    activate_href: str
    edit_href: str


async def read_profiles(visit: Viewer, environment: str) -> dict[str, SafeModeProfile]:
    page = await visit.services.reads.resources(visit.actor, environment, "safe_mode_profile", limit=100)
    found = {item.key: find_spec(item.spec, SafeModeProfile) for item in page.items}
    return {key: profile for key, profile in found.items() if profile is not None}


async def profile_cards(visit: Viewer, environment: str) -> tuple[ProfileCard, ...]:
    """What most incidents need comes first."""
    may = visit.may(Action.SAFE_MODE, environment)
    found = await read_profiles(visit, environment)
    order = sorted(found, key=lambda key: (FIRST.index(key) if key in FIRST else len(FIRST), key))
    return tuple(
        ProfileCard(
            key=key,
            title=title(key),
            does=profile_words(found[key]),
            description=found[key].description,
            banner=found[key].banner.text if found[key].banner else "",  # type: ignore[union-attr]
            activate_href=url(environment, "safe-mode", "activate", profile=key) if may else "",
            edit_href=url(environment, "safe-mode-profiles", key),
        )
        for key in order
    )


def title(key: str) -> str:
    """small-models → Small models."""
    text = key.replace("-", " ").replace("_", " ").replace(".", " ")
    return text[:1].upper() + text[1:]
