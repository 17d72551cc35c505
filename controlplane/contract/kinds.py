"""The kinds of resources as the edges know them: one row a kind. What a kind *is* stands in `brownout.model.kinds`.

A new kind is a row there, a row here, a folder of its own, templates, a migration if it has tables, and a guide.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from brownout.model.parse import decode, encode
from brownout.wire import Operation
from controlplane.contract import effects, owned
from controlplane.contract.outages import is_outage_put
from controlplane.contract.owned import Owned


def _never(_: Operation) -> bool:
    return False


class KindRow(msgspec.Struct, frozen=True, kw_only=True):
    """What API, CLI, console, history and import do with a kind."""

    path: str
    """Its segment in URLs, plural."""
    noun: str = ""
    """What it is called on the command line; empty: it has commands of its own."""
    about: str = ""
    """The first line of its help on the command line."""
    edited: bool = True
    """People put and delete it as a resource; exports hold it and imports may bring it. Else it has an owner."""
    restored: bool = True
    """A restore may bring an earlier state of it back."""
    home: str = ""
    """The console's page that lists it; empty: `path`."""
    section: str = ""
    """The section of the console that is marked on its pages; empty: `home`."""
    found: bool = False
    """Whether the command palette finds it."""
    order: int = 9
    """Where its lines stand in a commit's effective change: the most telling kind first."""
    describe: Callable[[str, Any, Any], str] | None = None
    """Says what a change does, from the key and the spec before and after; None: the changed fields are named."""
    built_on: bool = False
    """What names it builds on its content, not only on its being there: deleting is not the only way to break that."""
    read_when_named: bool = False
    """It has to be readable for something new to name it."""
    moved_on: bool = False
    """A put over one that is there only moves it on: what a newer version wrote in it stays in it."""
    in_the_way: bool = True
    """One that this version cannot read holds up the commits which would have to look into it."""
    alone: Callable[[Operation], bool] = _never
    """Whether an operation is part of switching safe mode: the permission to do that suffices for it, and the two-person
    rule lets an operator commit it alone. One that puts another kind than an activation may only create."""

    owned: Owned | None = None
    """What of it a machine alone may write."""

    @property
    def listed_at(self) -> str:
        return self.home or self.path

    @property
    def marked(self) -> str:
        return self.section or self.listed_at


KINDS: dict[str, KindRow] = {
    "flag": KindRow(
        path="flags", noun="flag", about="Flags: who gets which variant.", found=True, order=2, built_on=True,
        read_when_named=True, owned=owned.FLAG,
    ),
    "cohort": KindRow(
        path="cohorts", noun="cohort", about="Cohorts: named groups that rules refer to.", found=True, order=3,
    ),
    "request_class": KindRow(
        path="request-classes", noun="request-class",
        about="Request classes: kinds of LLM calls, and the flags that govern them.", found=True, order=1,
    ),
    "safe_mode_profile": KindRow(
        path="safe-mode-profiles", noun="profile", about="Safe-mode profiles: what safe mode does.", home="safe-mode",
        found=True, read_when_named=True, alone=is_outage_put,
    ),
    "safe_mode_activation": KindRow(
        path="safe-mode-activations", edited=False, restored=False, home="safe-mode", order=0, alone=lambda _: True,
        describe=effects.activation, moved_on=True,
    ),
    "response_template": KindRow(
        path="response-templates", noun="template",
        about="Response templates: fixed texts for the last rung of a ladder.", section="request-classes",
    ),
    "rollout": KindRow(
        path="rollouts", edited=False, restored=False, in_the_way=False, describe=effects.rollout, owned=owned.ROLLOUT,
    ),
    "failure_mode": KindRow(
        path="failure-modes", noun="failure-mode", about="Failure modes: how requests fail, and what to do about it.",
        section="coverage", found=True, order=5, in_the_way=False,
    ),
    "service_tier": KindRow(
        path="service-tiers", noun="tier", about="Service tiers: what is promised for request classes.",
        section="coverage", found=True, order=4, in_the_way=False,
    ),
}  # fmt: skip


_UNKNOWN = KindRow(path="history", edited=False, restored=False)


def row(kind: str) -> KindRow:
    """The row of a kind; of one that only a newer version knows, a row that leaves it alone."""
    return KINDS.get(kind, _UNKNOWN)


def alone(operation: Operation) -> bool:
    """Whether switching safe mode may include this operation (KindRow.alone)."""
    return row(operation.kind).alone(operation)


def edited() -> dict[str, KindRow]:
    """The kinds that people edit as resources."""
    return {kind: row for kind, row in KINDS.items() if row.edited}


def without_owned(kind: str, spec: bytes) -> bytes:
    """Canonical JSON of a spec, without what a machine owns; what this version cannot read stays as it is."""
    kept = row(kind).owned
    if kept is None or kept.mark not in spec:
        return spec
    try:
        return encode(kept.without(decode(kind, spec)))
    except msgspec.DecodeError:
        return spec


def words(kind: str) -> str:
    return kind.replace("_", " ")
