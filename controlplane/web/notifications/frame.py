"""What the pages of notifications share."""

from datetime import datetime

import msgspec

from controlplane.notify.events import fields_of
from controlplane.notify.feed import EventDetail
from controlplane.web.access.frame import Tab
from controlplane.web.kit.framing import url
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import words

TONES = {"page": "is-red", "warning": "is-amber"}


class SentRow(msgspec.Struct, frozen=True):
    """One delivery. `note`: why it has not arrived."""

    channel: str
    state: str
    note: str
    failed: bool


class EventRow(msgspec.Struct, frozen=True):
    """One event in a list. `asks`: a page that no one has acknowledged."""

    id: int
    at: datetime
    title: str
    kind: str
    severity: str
    tone: str
    details: tuple[str, ...]
    sent: tuple[SentRow, ...]
    acknowledged_by: str
    asks: bool


def tabs(visit: Visit, environment: str, here: str) -> tuple[Tab, ...]:
    shown = [("", "Events"), ("channels", "Channels and teams")]
    if visit.services.notifications.inbox:
        shown.append(("inbox", "Inbox"))
    return tuple(
        Tab(label, url(environment, "notifications", *((path,) if path else ())), path == here) for path, label in shown
    )


def row(found: EventDetail) -> EventRow:
    event = found.event
    severity = event.severity_word
    return EventRow(
        id=event.id,
        at=event.created_at,
        title=found.title,
        kind=words(event.kind),
        severity=severity,
        tone=TONES.get(severity, ""),
        details=tuple(f"{label}: {text}" for label, text in fields_of(event.data, found.title))[:12],
        sent=tuple(SentRow(s.channel, s.state, s.error, s.state in {"failed", "waiting"}) for s in found.deliveries),
        acknowledged_by=event.acknowledged_by or "",
        asks=severity == "page" and event.acknowledged_by is None,
    )
