"""From an event and a channel to what is sent. Pure."""

from datetime import datetime

from controlplane.notify.acks import AckLinks
from controlplane.notify.events import fields_of, severity_word, title_of
from controlplane.notify.kinds import Severity, kind_of
from controlplane.notify.senders.message import Action, Message


def compose(
    kind_key: str,
    *,
    message_id: str,
    environment: str,
    severity: int,
    dedupe: str,
    data: dict[str, str],
    at: datetime,
    now: datetime,
    channel: str,
    links: AckLinks,
    url: str,
    acknowledged: bool = False,
) -> Message:
    """Pages carry a link to acknowledge them, until someone has."""
    kind = kind_of(kind_key)
    title = title_of(kind, data)
    asks = severity >= Severity.PAGE and not kind.resolves and not acknowledged
    return Message(
        message_id=message_id,
        timestamp=int(now.timestamp()),
        at=at.isoformat(),
        type=kind.wire or kind_key,
        environment=environment,
        severity=severity_word(severity),
        dedupe=dedupe,
        action=_action(kind_key, severity, resolves=kind.resolves),
        title=title,
        fields=tuple(fields_of(data, title)),
        data=data,
        link=f"{url}/e/{environment}/{kind.page}" if environment and kind.page else "",
        ack_link=links.link(message_id, channel) if asks else "",
    )


def _action(kind: str, severity: int, *, resolves: bool) -> Action:
    if kind == "acknowledged":
        return "acknowledge"
    if resolves:
        return "resolve"
    return "trigger" if severity >= Severity.WARNING else "change"
