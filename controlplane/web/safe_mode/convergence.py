"""How far a commit is in the fleet, as the page shows it. Pure: from what the fleet said to what people read."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from brownout.model.resources import Scope
from brownout.status import SyncState
from controlplane.safemode.values import in_scope
from controlplane.telemetry.values import FleetSummary, InstanceView, Spread
from controlplane.web.kit.parts import CellTone, FleetGroup, fleet_group
from controlplane.web.kit.words import measured, plural, seconds

CUT_OFF = frozenset({SyncState.CONNECTING, SyncState.SUSPECT, SyncState.DISCONNECTED})
"""What an instance says of itself while it cannot hear of commits."""


class Laggard(msgspec.Struct, frozen=True):
    """An instance without the revision, what it said last, and what that means."""

    instance: str
    service: str
    in_scope: bool
    revision: int
    said: str
    last_seen_at: datetime
    means: str


class Convergence(msgspec.Struct, frozen=True):
    """`count` and `took` are the headline: 41/43, in 0.8 s."""

    revision: int
    applied: int
    live: int
    took: str
    done: bool
    steps: str
    scope: str
    laggards: tuple[Laggard, ...]

    @property
    def share(self) -> float:
        return self.applied / self.live if self.live else 1.0


def convergence(
    found: Spread | None,
    instances: Sequence[InstanceView],
    now: datetime,
    *,
    scope: Scope | None = None,
    since: datetime | None = None,
    revision: int = 0,
) -> Convergence | None:
    """Of the commit `found` is about; None when nobody saw one being published.

    Times count from `since` (the click). What an earlier commit took says nothing about `revision`.
    """
    live = [each for each in instances if each.live]
    if found is not None and found.revision < revision:
        return _awaited(revision, live, now, scope=scope, since=since or now)
    if found is None:
        return None
    offset_s = max(0.0, (found.published_at - since).total_seconds()) if since else 0.0
    behind = [each for each in live if each.revision < found.revision]
    steps = [
        f"{label} in {measured(took / 1000 + offset_s)}"
        for label, took in (("50 %", found.took_50_ms), ("95 %", found.took_95_ms), ("100 %", found.took_100_ms))
        if took is not None
    ]
    done = found.took_100_ms is not None
    if found.applied < found.live:
        steps.append(f"100 % still open after {seconds((now - found.published_at).total_seconds() + offset_s)}")
    took = next((t for t in (found.took_100_ms, found.took_95_ms, found.took_50_ms) if t is not None), None)
    return Convergence(
        revision=found.revision,
        applied=found.applied,
        live=found.live,
        took=f"in {measured(took / 1000 + offset_s)}" if took is not None else "",
        done=done,
        steps=" · ".join(steps),
        scope=_scope_words(scope, live, behind),
        laggards=tuple(_laggard(each, scope, now) for each in behind[:10]),
    )


def _awaited(
    revision: int, live: Sequence[InstanceView], now: datetime, *, scope: Scope | None, since: datetime
) -> Convergence:
    """Committed, but not seen on its way out yet."""
    behind = [each for each in live if each.revision < revision]
    return Convergence(
        revision=revision,
        applied=len(live) - len(behind),
        live=len(live),
        took="",
        done=False,
        steps=f"100 % still open after {seconds((now - since).total_seconds())}",
        scope=_scope_words(scope, live, behind),
        laggards=tuple(_laggard(each, scope, now) for each in behind[:10]),
    )


def _in_scope(scope: Scope | None, service: str) -> bool:
    return scope is None or in_scope(scope, service)


def _scope_words(scope: Scope | None, live: Sequence[InstanceView], behind: Sequence[InstanceView]) -> str:
    if scope is None or not scope.services:
        return ""
    touched = sum(_in_scope(scope, each.service) for each in live)
    missing = sum(_in_scope(scope, each.service) for each in behind)
    return f"In scope: {touched - missing} of {touched} confirmed."


def _laggard(each: InstanceView, scope: Scope | None, now: datetime) -> Laggard:
    touched = _in_scope(scope, each.service)
    silent = (now - each.last_seen_at).total_seconds()
    if not touched:
        means = "Out of scope, unaffected."
    elif silent > 15:
        means = "Silent: probably gone. It drops off 30 s after its last word."
    elif each.state in CUT_OFF:
        means = f"Decides with r{each.revision} until it reconnects."
    else:
        means = f"Decides with r{each.revision} until the commit arrives."
    return Laggard(each.instance, each.service, touched and scope is not None, each.revision,
                   f"“{each.state.lower()}, r{each.revision}”", each.last_seen_at, means)  # fmt: skip


def fleet_groups(instances: Sequence[InstanceView], revision: int, *, fresh: bool) -> tuple[FleetGroup, ...]:
    """A group a service. `fresh`: the revision is new, so whoever confirmed it is drawn in the accent."""
    services: dict[str, list[CellTone]] = {}
    for each in sorted(instances, key=lambda each: (each.service, each.revision < revision, each.instance)):
        if each.live:
            tone: CellTone = ("new" if fresh else "") if each.revision >= revision else "lag"
            services.setdefault(each.service or "(no name)", []).append(tone)
    return tuple(fleet_group(service, tones) for service, tones in services.items())


def fleet_words(summary: FleetSummary) -> str:
    """43 of 43 instances on r912."""
    if not summary.live:
        return "No instance has reported yet"
    return f"{summary.applied} of {plural(summary.live, 'instance')} on r{summary.head}"


def unpublished_words(summary: FleetSummary) -> str:
    """r912 is committed but not published: NATS has r911."""
    known = "it is not known what NATS has" if summary.published is None else f"NATS has r{summary.published}"
    return f"r{summary.head} is committed but not published: {known}"
