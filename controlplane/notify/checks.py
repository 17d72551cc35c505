"""What is wrong with what was sent, and who sees which events. Pure."""

import re
from collections.abc import Collection, Iterable, Sequence

from controlplane.access.actor import ANY_ENVIRONMENT, Action, Actor, allows
from controlplane.errors import ConflictError, Fault, ForbiddenError, InvalidInputError
from controlplane.notify.kinds import ROWS, kind_of
from controlplane.notify.values import Event

MANAGE = Action.MANAGE_ENVIRONMENT
"""In every environment: a channel hears of all of them, and a paused one silences them."""
MAX_LISTED = 20
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_RESTRICTED = tuple(row.key for row in ROWS if row.restricted)


def check(*faults: Iterable[Fault]) -> None:
    """Raises InvalidInputError when there are any."""
    found = tuple(fault for each in faults for fault in each)
    if found:
        raise InvalidInputError(f"{found[0].message}. Nothing was saved", found)


def key_faults(key: str) -> list[Fault]:
    if _KEY.fullmatch(key):
        return []
    return [Fault("invalid_value", "use up to 63 lower-case letters, digits and . _ - for the key", "/key")]


def text_faults(text: str, pointer: str, least: int, most: int) -> list[Fault]:
    if least <= len(text.strip()) <= most and "\0" not in text:
        return []
    return [Fault("invalid_value", f"{pointer[1:]} needs {least} to {most} characters", pointer)]


def list_faults(given: Sequence[str], pointer: str) -> list[Fault]:
    if not 1 <= len(given) <= MAX_LISTED:
        return [Fault("invalid_value", f"{pointer[1:]} needs 1 to {MAX_LISTED} entries", pointer)]
    if len(set(given)) < len(given):
        return [Fault("invalid_value", f"{pointer[1:]} names one of them twice", pointer)]
    return [
        Fault("invalid_value", "each needs 1 to 100 characters", f"{pointer}/{place}")
        for place, each in enumerate(given)
        if not 1 <= len(each) <= 100 or "\0" in each
    ]


def known_faults(
    given: Sequence[str], known: Collection[str], pointer: str, what: str, *, single: bool = False
) -> list[Fault]:
    return [
        Fault("unknown_reference", f"there is no {what} {each[:100]}", pointer if single else f"{pointer}/{place}")
        for place, each in enumerate(given)
        if each not in known
    ]


def room_for(key: str, known: Collection[str], most: int, what: str) -> None:
    if key not in known and len(known) >= most:
        raise ConflictError(f"there are {most} {what}, which is as many as there may be")


def may_list(actor: Actor) -> None:
    """Raises ForbiddenError unless the actor reads some environment."""
    if not any(allows(actor.grants, Action.READ, each) for each in actor.grants):
        raise ForbiddenError(f"{actor.name} may not read any environment")


def visible_to(actor: Actor, environment: str) -> list[str] | None:
    """The environments whose events the actor sees, and '' for what belongs to none; None: all of them."""
    may_list(actor)
    if environment:
        if not allows(actor.grants, Action.READ, environment):
            raise ForbiddenError(f"{actor.name} may not read in {environment}")
        return [environment, ""]
    if allows(actor.grants, Action.READ, ANY_ENVIRONMENT):
        return None
    return [*(each for each in actor.grants if allows(actor.grants, Action.READ, each)), ""]


def hidden_from(actor: Actor) -> tuple[str, ...]:
    """Kinds that only readers of the audit log see."""
    return () if allows(actor.grants, Action.READ_AUDIT, ANY_ENVIRONMENT) else _RESTRICTED


def sees(actor: Actor, event: Event) -> bool:
    if event.environment and not allows(actor.grants, Action.READ, event.environment):
        return False
    if not event.environment and not any(allows(actor.grants, Action.READ, each) for each in actor.grants):
        return False
    return not kind_of(event.kind).restricted or event.kind not in hidden_from(actor)
